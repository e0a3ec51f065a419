//! User names: how a requested one is prepared, when it is refused, when two are one.
//!
//! What lives here: [`Username`], the only form in which the rest of the program holds a name,
//! [`UsernameKey`] by which names collide, and [`NameError`], whose sentences go to the asker.
//! Protocol: the row "a name that is taken…" of "What is refused" (all of it but "taken"), and
//! the paragraph "Two names are one if…".
//! Everything from layer 0 upwards may call it: it is pure, from text and an address to a value.
//! It must never know who is connected: whether a name is *taken* is decided by whoever keeps
//! the roster, by comparing [`UsernameKey`].
//!
//! In reading order: this file (the course of the checks), `characters` (which characters, and
//! where), `keys` (look-alikes and case), `forgery` (names that read as something else).
//!
//! What holds for every [`Username`]:
//! 1. Preparing and checking it again gives the same name.
//! 2. It is one line, without characters that control a terminal, hide, or turn a direction.
//! 3. It is within the limits, or it is an address as [`Username::from_address`] writes it.
//! 4. It does not read as the server, as a notice, as a private message or as an address of
//!    somebody else, nor does `NAME: TEXT` read as a line of another name.

pub mod characters;
pub mod impersonation;
pub mod skeleton;

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use precis_core::profile::{Rules, stabilize};
use precis_profiles::Nickname;
use unicode_normalization::UnicodeNormalization;
use unicode_segmentation::UnicodeSegmentation;

use crate::limits::{MAX_COMBINING_MARKS, MAX_NAME_BYTES, MAX_NAME_GRAPHEMES};

/// A requested name of more than this many times [`MAX_NAME_BYTES`] is refused unread, so that
/// the cost of judging a name has a bound: normalization rarely makes a text shorter.
const REQUESTED_TIMES_LONGER: usize = 4;

/// A user name in its announced (prepared) form. Cheap to clone.
///
/// Equality is that of the text; whether two names count as one is told by [`Username::keys`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Username(Arc<str>);

impl Username {
    /// The name of a client that has not chosen one: `IP:PORT`, or `[IPv6]:PORT`.
    ///
    /// An IPv4 address in IPv6 clothes is written as IPv4; zone and flow are left out.
    pub fn from_address(address: SocketAddr) -> Username {
        let port = address.port();
        Username(match address.ip().to_canonical() {
            IpAddr::V4(ip) => format!("{ip}:{port}").into(),
            IpAddr::V6(ip) => format!("[{ip}]:{port}").into(),
        })
    }

    /// Prepares and checks a requested name.
    ///
    /// `own_address` is the asker's own: its own `IP:PORT` form may be chosen (again), is exempt
    /// from the limits of length, and comes back as [`Username::from_address`] writes it.
    ///
    /// The characters are judged twice, as given and as prepared: what preparation would quietly
    /// remove must not pass, nor what it brings about.
    ///
    /// # Errors
    ///
    /// The first rule that the name breaks, as a [`NameError`].
    pub fn parse(requested: &str, own_address: SocketAddr) -> Result<Username, NameError> {
        Username::parse_by(requested, Some(own_address))
    }

    /// The same for one who has no address that could be a name.
    ///
    /// # Errors
    ///
    /// Those of [`Username::parse`].
    pub fn parse_without_address(requested: &str) -> Result<Username, NameError> {
        Username::parse_by(requested, None)
    }

    fn parse_by(requested: &str, own_address: Option<SocketAddr>) -> Result<Username, NameError> {
        let bytes = requested.len();
        if bytes > REQUESTED_TIMES_LONGER * MAX_NAME_BYTES {
            return Err(NameError::TooManyBytes { bytes });
        }
        // Canonically equal requests are one request: how marks are ordered and composed decides
        // nothing.
        let composed: String = requested.nfc().collect();
        characters::check(&composed)?;
        let prepared = prepare(&composed)?;
        if let Some(own_address) = own_address
            && impersonation::is_own_address(&prepared, own_address)
        {
            return Ok(Username::from_address(own_address));
        }
        // First of all, so that the others have little to look at.
        check_length(&prepared)?;
        characters::check(&prepared)?;
        characters::check_marks(&prepared)?;
        impersonation::check(requested, &prepared)?;
        Ok(Username(prepared.into()))
    }

    /// A name that was checked before it was kept, as a store gives it back.
    pub fn kept(text: &str) -> Username {
        Username(text.into())
    }

    /// The keys that a name would have which somebody writes like this; none if it is too long
    /// for one.
    pub fn keys_of(text: &str) -> Option<UsernameKey> {
        let text = text.trim();
        (text.len() <= REQUESTED_TIMES_LONGER * MAX_NAME_BYTES).then(|| skeleton::of(text))
    }

    /// The name as it is announced.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Keys under which names collide: two names are one if either key agrees.
    pub fn keys(&self) -> UsernameKey {
        skeleton::of(&self.0)
    }
}

impl fmt::Display for Username {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What names are compared by: look-alikes (the skeleton of UTS 39) and case (full case
/// folding) are folded away, in either order, and invisible characters are left out.
///
/// Keys are for comparing, each with its own kind; they are no text to show.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct UsernameKey {
    /// The skeleton of the case-folded name.
    pub folded_first: Box<str>,
    /// The case-folded skeleton of the name.
    pub folded_last: Box<str>,
}

/// Why a requested name is refused. The sentence says what was wrong and what would be right,
/// without final stop, and never repeats a character of the name itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NameError {
    /// Nothing is left after preparation.
    Empty,
    /// Over [`MAX_NAME_GRAPHEMES`].
    TooLong {
        /// Grapheme clusters of the prepared name.
        graphemes: usize,
    },
    /// Over [`MAX_NAME_BYTES`].
    TooManyBytes {
        /// Bytes of UTF-8: of the prepared name, or of the requested one if that alone is
        /// too much to look at.
        bytes: usize,
    },
    /// Reads as the source of what the server says.
    Reserved,
    /// Reads as an `IP:PORT` that is not the asker's own.
    LooksLikeAddress,
    /// Has a character that a name cannot have, or not in this place.
    ForbiddenCharacter {
        /// The first such character.
        character: char,
        /// What is wrong with it.
        fault: CharacterFault,
    },
    /// Over [`MAX_COMBINING_MARKS`] on one base character.
    TooManyMarks,
    /// Has a colon before a space, so that `NAME: TEXT` could be taken apart wrongly.
    Separator,
    /// Ends in a colon or `>`.
    EndsLikeSource,
    /// Ends like the source of a private message.
    LooksPrivate,
    /// Reads like a notice of the server.
    ReadsLikeNotice {
        /// What it reads like.
        phrase: &'static str,
    },
    /// Normalization comes to no end (no such text is known).
    Unstable,
}

/// What is wrong with a character of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CharacterFault {
    /// It controls a terminal or ends a line.
    Control,
    /// It changes the writing direction.
    Direction,
    /// Nobody sees it.
    Invisible,
    /// It is unassigned, for private use, or stands for what could not be decoded.
    Meaningless,
    /// A joiner, selector, tag or flag letter that is no part of a whole emoji, nor a joiner
    /// where the script wants one.
    Misplaced,
    /// A combining mark without a base character, at the beginning.
    Loose,
}

impl CharacterFault {
    fn sentence_part(self) -> &'static str {
        match self {
            CharacterFault::Control => "is a control character; leave it out",
            CharacterFault::Direction => "changes the writing direction; leave it out",
            CharacterFault::Invisible => "is invisible; leave it out",
            CharacterFault::Meaningless => "stands for no known character; choose another",
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
        match self {
            NameError::Empty => write!(
                f,
                "The name is empty; choose one of 1 to {MAX_NAME_GRAPHEMES} characters"
            ),
            NameError::TooLong { graphemes } => write!(
                f,
                "The name has {graphemes} characters; choose one of at most {MAX_NAME_GRAPHEMES}"
            ),
            NameError::TooManyBytes { bytes } => write!(
                f,
                "The name has {bytes} bytes; choose one of at most {MAX_NAME_BYTES}"
            ),
            NameError::Reserved => {
                write!(f, "The name reads as the server's own; choose another")
            }
            NameError::LooksLikeAddress => write!(
                f,
                "The name reads as a network address that is not yours; choose another"
            ),
            NameError::ForbiddenCharacter { character, fault } => write!(
                f,
                "The name contains U+{:04X}, which {}",
                u32::from(*character),
                fault.sentence_part()
            ),
            NameError::TooManyMarks => write!(
                f,
                "The name has too many combining marks on one letter; use at most \
                 {MAX_COMBINING_MARKS}"
            ),
            NameError::Separator => write!(
                f,
                "The name contains a colon and a space, which end a name on a terminal; leave \
                 one of them out"
            ),
            NameError::EndsLikeSource => write!(
                f,
                "The name ends in a colon or \">\", which end a name on a terminal; leave it out"
            ),
            NameError::LooksPrivate => write!(
                f,
                "The name ends in \"(private)\", which marks private messages; leave it out"
            ),
            NameError::ReadsLikeNotice { phrase } => write!(
                f,
                "The name reads like the server's notice \"{phrase}\"; choose another"
            ),
            NameError::Unstable => {
                write!(f, "The name cannot be normalized; choose another")
            }
        }
    }
}

impl std::error::Error for NameError {}

/// The Nickname profile of RFC 8266, section 2: spaces of every kind become SPACE, those at the
/// ends go, runs of them become one, then NFKC; again until nothing changes.
///
/// The profile's FreeformClass is not applied: its tables are of Unicode 6.3 and its rules
/// refuse every emoji sequence. `characters` judges in its place, by today's Unicode.
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
        Err(NameError::TooLong { graphemes })
    } else if bytes > MAX_NAME_BYTES {
        Err(NameError::TooManyBytes { bytes })
    } else {
        Ok(())
    }
}
