//! Usernames: preparation, validation and comparison.
//!
//! Reading order: this file, `characters` (allowed characters), `skeleton` (look-alikes and case),
//! `impersonation` (names that read as something else).

mod characters;
mod impersonation;
mod skeleton;

#[cfg(test)]
mod tests;

pub(super) use characters::ascii_digit;

use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use precis_core::profile::{Rules, stabilize};
use precis_profiles::Nickname;
use unicode_normalization::UnicodeNormalization;
use unicode_segmentation::UnicodeSegmentation;

use crate::limits::{MAX_COMBINING_MARKS, MAX_NAME_BYTES, MAX_NAME_GRAPHEMES};

/// Bytes of a requested name that are examined at most. Normalization rarely shortens a text, so
/// a longer request cannot become a valid name.
const MAX_REQUESTED_BYTES: usize = 4 * MAX_NAME_BYTES;

/// A username in its announced form. Cheap to clone.
///
/// Equality compares the text. [`Username::key`] decides whether two names collide.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Username(Arc<str>);

impl Username {
    /// Returns the name of a client that has not chosen one: `IP:PORT` or `[IPv6]:PORT`.
    ///
    /// An IPv4-mapped address is written as IPv4, without zone and flow label.
    pub fn from_address(address: SocketAddr) -> Username {
        let port = address.port();
        Username(match address.ip().to_canonical() {
            IpAddr::V4(ip) => format!("{ip}:{port}").into(),
            IpAddr::V6(ip) => format!("[{ip}]:{port}").into(),
        })
    }

    /// Prepares and validates a name for a user, if possible with an address that can be a name.
    ///
    /// A client may choose its own address, which is exempt from the length limits and becomes
    /// [`Username::from_address`]. The result is stable: parsing it again returns the same name.
    ///
    /// # Errors
    /// The first rule that the name breaks.
    pub fn parse(
        requested: &str,
        own_address: impl Into<Option<SocketAddr>>,
    ) -> Result<Username, NameError> {
        let bytes = requested.len();
        if bytes > MAX_REQUESTED_BYTES {
            return Err(NameError::TooManyBytes(bytes));
        }
        // The checks below depend on the order of marks, and canonically equal requests must have
        // equal results.
        let composed: String = requested.nfc().collect();
        // Characters are checked before and after preparation: it removes some, and produces some.
        characters::check(&composed)?;
        let prepared = prepare(&composed)?;
        if let Some(own_address) = own_address.into()
            && impersonation::is_own_address(&prepared, own_address)
        {
            return Ok(Username::from_address(own_address));
        }
        check_length(&prepared)?;
        characters::check(&prepared)?;
        characters::check_marks(&prepared)?;
        impersonation::check(requested, &prepared)?;
        Ok(Username(prepared.into()))
    }

    /// Restores a name that was validated before it was stored.
    pub fn from_stored(text: &str) -> Username {
        Username(text.into())
    }

    /// Returns the announced form.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the key that decides whether two names collide.
    pub fn key(&self) -> UsernameKey {
        skeleton::key(skeleton::without_trailing_punctuation(&self.0))
    }
}

impl fmt::Display for Username {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The form in which names are compared: without case, look-alikes, invisible characters and
/// punctuation at the end.
///
/// Two names collide if either field agrees, since case folding and look-alike folding do not
/// commute.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct UsernameKey {
    /// The UTS 39 skeleton of the case-folded name.
    pub folded_first: Box<str>,
    /// The case-folded UTS 39 skeleton of the name.
    pub folded_last: Box<str>,
}

impl UsernameKey {
    /// Returns the key of a name as a user typed it, or `None` if the text is too long for a name.
    pub fn of_typed(text: &str) -> Option<UsernameKey> {
        let text = text.trim();
        (text.len() <= MAX_REQUESTED_BYTES)
            .then(|| skeleton::key(skeleton::without_trailing_punctuation(text)))
    }

    /// Returns whether two names with these keys collide.
    pub fn collides_with(&self, other: &UsernameKey) -> bool {
        self.folded_first == other.folded_first || self.folded_last == other.folded_last
    }
}

/// The reason why a requested name is refused.
///
/// `Display` is an ASCII sentence without any character of the name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NameError {
    /// The prepared name is empty.
    Empty,
    /// The name has this many grapheme clusters, more than [`MAX_NAME_GRAPHEMES`].
    TooLong(usize),
    /// The name, or a request too long to be prepared, has this many bytes.
    TooManyBytes(usize),
    /// The name reads as the server, or as a role of its staff.
    Reserved,
    /// The name reads as an `IP:PORT` that is not the client's own.
    LooksLikeAddress,
    /// This character is the first that is not allowed, or not at its position.
    ForbiddenCharacter(char, CharacterFault),
    /// One base character has more than [`MAX_COMBINING_MARKS`].
    TooManyMarks,
    /// The name contains a colon and a space, which would split the printed line `NAME: TEXT`.
    Separator,
    /// The name contains a comma and a space, which separate names in a list.
    ListSeparator,
    /// The name begins like a line: with a bracket, an asterisk or a time of day.
    BeginsLikeLine,
    /// The name begins or ends with a check mark.
    CheckMark,
    /// A word of the name mixes scripts beyond "highly restrictive" of UTS 39.
    MixedScripts,
    /// The name ends in a colon or `>`.
    EndsLikeSource,
    /// The name ends like the source of a private message.
    LooksPrivate,
    /// The name contains this phrase of a server notice, or a look-alike.
    ReadsLikeNotice(&'static str),
    /// Normalization does not reach a fixed point (no such text is known).
    Unstable,
}

/// What is wrong with a character of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CharacterFault {
    /// A control character or line end.
    Control,
    /// A change of the writing direction.
    Direction,
    /// An invisible character.
    Invisible,
    /// An unassigned, private-use or replacement character.
    Meaningless,
    /// A joiner, selector, tag or flag letter outside a whole emoji and outside the positions
    /// that RFC 5892 permits.
    Misplaced,
    /// A combining mark without a base character.
    Loose,
}

impl CharacterFault {
    fn predicate(self) -> &'static str {
        match self {
            CharacterFault::Control => "is a control character; leave it out",
            CharacterFault::Direction => "changes the writing direction; leave it out",
            CharacterFault::Invisible => "is invisible; leave it out",
            CharacterFault::Meaningless => "is not a known character; choose another",
            CharacterFault::Misplaced => {
                "is allowed only within a whole emoji or where the script needs it; leave it out"
            }
            CharacterFault::Loose => {
                "is a combining mark with nothing before it; put a letter there"
            }
        }
    }
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use NameError::*;
        f.write_str("The name ")?;
        match self {
            Empty => write!(
                f,
                "is empty; choose one of 1 to {MAX_NAME_GRAPHEMES} characters"
            ),
            TooLong(length) => {
                write!(
                    f,
                    "has {length} characters; choose one of at most {MAX_NAME_GRAPHEMES}"
                )
            }
            TooManyBytes(bytes) => {
                write!(
                    f,
                    "has {bytes} bytes; choose one of at most {MAX_NAME_BYTES}"
                )
            }
            Reserved => write!(f, "reads as the server or its staff; choose another"),
            LooksLikeAddress => {
                write!(
                    f,
                    "reads as a network address that is not yours; choose another"
                )
            }
            ForbiddenCharacter(character, fault) => {
                let code = u32::from(*character);
                write!(f, "contains U+{code:04X}, which {}", fault.predicate())
            }
            TooManyMarks => write!(
                f,
                "has too many combining marks on one letter; use at most {MAX_COMBINING_MARKS}"
            ),
            Separator => write!(
                f,
                "contains a colon and a space, which end a name on a terminal; leave one of them \
                 out"
            ),
            ListSeparator => write!(
                f,
                "contains a comma and a space, which separate names in a list; leave one of them \
                 out"
            ),
            BeginsLikeLine => write!(
                f,
                "begins with a bracket, an asterisk or a time, as lines on a terminal do; begin it \
                 with something else"
            ),
            CheckMark => write!(
                f,
                "begins or ends with a check mark, but no name is verified; leave it out"
            ),
            MixedScripts => write!(
                f,
                "mixes letters of different scripts in one word; use one script for each word"
            ),
            EndsLikeSource => {
                write!(
                    f,
                    "ends in a colon or \">\", which end a name on a terminal; leave it out"
                )
            }
            LooksPrivate => {
                write!(
                    f,
                    "ends in \"(private)\", which marks private messages; leave it out"
                )
            }
            ReadsLikeNotice(phrase) => {
                write!(
                    f,
                    "reads like the server's notice \"{phrase}\"; choose another"
                )
            }
            Unstable => write!(f, "cannot be normalized; choose another"),
        }
    }
}

impl std::error::Error for NameError {}

/// Applies the Nickname profile of RFC 8266, section 2: every space becomes SPACE, spaces at the
/// ends go, runs of spaces become one, then NFKC, until nothing changes.
///
/// The profile's FreeformClass is not applied: its tables are of Unicode 6.3, and its rules refuse
/// every emoji sequence. `characters` replaces it.
fn prepare(requested: &str) -> Result<String, NameError> {
    let profile = Nickname::new();
    stabilize(characters::without_orphaned_selectors(requested), |text| {
        let mapped = profile.additional_mapping_rule(text)?;
        profile.normalization_rule(mapped)
    })
    .map(Cow::into_owned)
    .map_err(|_| NameError::Unstable)
}

fn check_length(prepared: &str) -> Result<(), NameError> {
    let bytes = prepared.len();
    let graphemes = prepared.graphemes(true).count();
    if prepared.is_empty() {
        Err(NameError::Empty)
    } else if graphemes > MAX_NAME_GRAPHEMES {
        Err(NameError::TooLong(graphemes))
    } else if bytes > MAX_NAME_BYTES {
        Err(NameError::TooManyBytes(bytes))
    } else {
        Ok(())
    }
}
