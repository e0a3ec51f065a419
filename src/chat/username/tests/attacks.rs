//! Names made to be taken for something else, trick by trick.
//!
//! The rows of each table are: what is asked for, what comes of it, and by which trick.

use super::super::{NameError, Username, impersonation};
use super::{known_characters, name, parse, parse_as};

/// What comes of a name that is asked for.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Passes,
    Reserved,
    Address,
    Separator,
    EndsLikeSource,
    Private,
    /// Reads like the notice of this number.
    Notice(usize),
}

use Fate::{Address, EndsLikeSource, Notice, Passes, Private, Reserved, Separator};

impl Fate {
    fn is(self, outcome: &Result<Username, NameError>) -> bool {
        let expected = match self {
            Passes => return outcome.is_ok(),
            Reserved => NameError::Reserved,
            Address => NameError::LooksLikeAddress,
            Separator => NameError::Separator,
            EndsLikeSource => NameError::EndsLikeSource,
            Private => NameError::LooksPrivate,
            Notice(number) => NameError::ReadsLikeNotice {
                phrase: impersonation::NOTICES[number],
            },
        };
        outcome.as_ref() == Err(&expected)
    }
}

/// Tells all rows that fail at once.
#[track_caller]
fn check_table(table: &[(&str, Fate, &str)]) {
    let failures: Vec<String> = table
        .iter()
        .filter(|(requested, fate, _)| !fate.is(&parse(requested)))
        .map(|(requested, fate, why)| {
            format!(
                "{requested:?} ({why}) should be {fate:?}: {:?}",
                parse(requested)
            )
        })
        .collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn nobody_looks_like_the_server() {
    check_table(&[
        ("[Server]", Reserved, "as it is"),
        ("[SERVER]", Reserved, "case"),
        ("[ſERVEr]", Reserved, "case folding of the long s"),
        (" [Server]\u{3000}", Reserved, "spaces around"),
        ("[\u{2009}Server\u{A0}]", Reserved, "spaces inside"),
        ("[Ser ver]", Reserved, "a space inside"),
        ("[Ѕеrvеr]", Reserved, "Cyrillic"),
        ("[ЅЕRVЕR]", Reserved, "Cyrillic capitals"),
        ("[Serνer]", Reserved, "Greek nu"),
        ("[SΕRVΕR]", Reserved, "Greek capitals"),
        ("[ՏerverЈ", Passes, "no closing bracket"),
        ("[Տerver]", Reserved, "Armenian"),
        ("[ᏚᎬᎡᏙᎬᎡ]", Reserved, "Cherokee"),
        ("[Ꮪerver]", Reserved, "one Cherokee letter"),
        ("[Serveг]", Reserved, "Cyrillic ghe"),
        ("［Ｓｅｒｖｅｒ］", Reserved, "fullwidth"),
        ("[𝐒𝐞𝐫𝐯𝐞𝐫]", Reserved, "mathematical bold"),
        ("[𝔖𝔢𝔯𝔳𝔢𝔯]", Reserved, "mathematical Fraktur"),
        ("[𝚂𝚎𝚛𝚟𝚎𝚛]", Reserved, "mathematical monospace"),
        ("[𝕊𝕖𝕣𝕧𝕖𝕣]", Reserved, "double-struck"),
        ("[ˢᵉʳᵛᵉʳ]", Reserved, "superscripts"),
        ("[Ⓢⓔⓡⓥⓔⓡ]", Reserved, "circled"),
        ("[🅂🄴🅁🅅🄴🅁]", Reserved, "squared"),
        ("[Se\u{301}rver]", Reserved, "an accent, decomposed"),
        ("[Sérver]", Reserved, "an accent, composed"),
        ("[Ṡḛṙṽḝṛ]", Reserved, "marks on every letter"),
        ("[S̶e̶r̶v̶e̶r̶]", Reserved, "struck through"),
        ("[S\u{20DD}erver]", Reserved, "an enclosing mark"),
        ("[Sɇrver]", Reserved, "a letter with a stroke"),
        ("Server", Passes, "without brackets"),
        ("[Servers]", Passes, "another word"),
        ("[Service]", Passes, "another word"),
        ("[Observer]", Passes, "another word"),
        ("[bot]", Passes, "another name in brackets"),
        ("(Server)", Passes, "round brackets are others"),
        ("{Server}", Passes, "curly brackets are others"),
        ("[Сервер]", Passes, "the same word of another language"),
    ]);
}

/// UTS 39 says nothing of these letters, and people read them all the same.
#[test]
fn letters_of_other_shapes_do_not_make_a_server() {
    check_table(&[
        ("[ꜱᴇʀᴠᴇʀ]", Reserved, "small capitals"),
        ("[Sᴇʀᴠᴇʀ]", Reserved, "small capitals after a capital"),
        ("[🆂🅴🆁🆅🅴🆁]", Reserved, "white on black squares"),
        ("[🅢🅔🅡🅥🅔🅡]", Reserved, "white on black circles"),
        ("bob ʜᴀꜱ ʟᴇꜰᴛ ᴛʜᴇ ᴄʜᴀᴛ", Notice(1), "small capitals"),
        ("bob 🅷🅰🆂 🅻🅴🅵🆃 🆃🅷🅴 🅲🅷🅰🆃", Notice(1), "squares"),
        ("alice (ᴘʀɪᴠᴀᴛᴇ)", Private, "small capitals"),
        ("ᴀʟɪᴄᴇ", Passes, "the letters themselves are no offence"),
        ("🅰🅱", Passes, "the letters themselves are no offence"),
        ("ʔəɪ", Passes, "phonetic letters"),
    ]);
}

#[test]
fn brackets_of_other_shapes_do_not_make_a_server() {
    check_table(&[
        ("【Server】", Reserved, "black lenticular brackets"),
        ("⟦Server⟧", Reserved, "mathematical white brackets"),
        ("⁅Server⁆", Reserved, "brackets with a quill"),
        ("〔Server〕", Reserved, "tortoise shell brackets"),
        ("❲Server❳", Reserved, "ornaments"),
        ("「Server」", Reserved, "corner brackets"),
        ("〚Ѕеrvеr〛", Reserved, "white brackets and Cyrillic"),
        ("﹝Server﹞", Reserved, "small tortoise shell brackets"),
        ("【山田】", Passes, "brackets around another name"),
        ("「さくら」", Passes, "brackets around another name"),
        ("⟨bra|ket⟩", Passes, "brackets around another name"),
    ]);
}

#[test]
fn nobody_looks_like_an_address() {
    check_table(&[
        ("10.0.0.1:5555", Address, "as it is"),
        ("0.0.0.0:0", Address, "nobody's address is one too"),
        ("255.255.255.255:65535", Address, "the largest"),
        ("10.0.0.1:65536", Address, "a port too large"),
        (" 10.0.0.1:80", Address, "a space before"),
        ("10.0.0.1: 80", Address, "a space inside"),
        ("10 .0 .0 .1 :80", Address, "spaces inside"),
        ("010.0.0.001:080", Address, "leading zeros"),
        ("lO.o.O.I:8O", Address, "letters for digits"),
        ("|0.0.0.1:80", Address, "a bar for a digit"),
        ("1О.0.0.1:80", Address, "Cyrillic O"),
        ("1Ο.0.0.1:80", Address, "Greek O"),
        ("10.0.0.1:З0", Address, "Cyrillic Ze for a three"),
        ("１０．０．０．１：８０", Address, "fullwidth"),
        ("𝟏𝟎.𝟎.𝟎.𝟏:𝟖𝟎", Address, "mathematical digits"),
        ("¹⁰.⁰.⁰.¹:⁸⁰", Address, "superscripts"),
        ("₁₀.₀.₀.₁:₈₀", Address, "subscripts"),
        ("①⓪.⓪.⓪.①:80", Address, "circled"),
        ("⒑0.0.1:80", Address, "a digit with its full stop"),
        ("1️⃣0️⃣.0.0.1️⃣:80", Address, "keycaps"),
        ("1\u{332}0.0.0.1:80", Address, "marks on digits"),
        ("10\u{20DD}.0.0.1:80", Address, "enclosing marks"),
        ("10․0․0․1:80", Address, "one dot leaders"),
        ("10.0.0.1∶80", Address, "a ratio for a colon"),
        ("10.0.0.1꞉80", Address, "a letter for a colon"),
        ("[::1]:80", Address, "IPv6"),
        ("::1:80", Address, "IPv6 without brackets"),
        ("[::]:80", Address, "nobody's IPv6"),
        ("[2001:DB8::A]:80", Address, "IPv6 in capitals"),
        ("[2001:db8:0:0::a]:80", Address, "IPv6 with zeros"),
        ("[２００１:ｄｂ８::ａ]:80", Address, "fullwidth IPv6"),
        ("[2ool:db8::l]:8o", Address, "IPv6, letters for digits"),
        ("[2001:dЬ8::а]:80", Address, "a soft sign for a b"),
        ("[2001:db8::а]:80", Address, "Cyrillic a"),
        ("[fe80::1%eth0]:80", Address, "with a zone"),
        ("[::ffff:10.0.0.1]:80", Address, "IPv4 in IPv6"),
        ("[::ffff:a00:1]:80", Address, "IPv4 in IPv6, hexadecimal"),
        ("[10.0.0.1]:80", Address, "IPv4 in brackets"),
        ("［::1］：80", Address, "fullwidth brackets"),
        ("10.0.0.1", Passes, "no port"),
        ("[::1]", Passes, "no port"),
        ("10.0.0:80", Passes, "three numbers"),
        ("10.0.0.0.1:80", Passes, "five numbers"),
        ("10.0.0.256:80", Passes, "a number too large"),
        ("12:30", Passes, "a time"),
        ("1:2:3", Passes, "a ratio"),
        ("v1.2.3.4:5", Passes, "a version"),
        ("example.org:80", Passes, "a host name"),
        ("a.b.c.d:80", Passes, "letters"),
        ("10.0.0.1:80/x", Passes, "a path after it"),
    ]);
}

#[test]
fn digits_of_other_scripts_make_no_address() {
    check_table(&[
        ("١٠.٠.٠.١:٨٠", Address, "Arabic digits"),
        ("۱۰.۰.۰.۱:۸۰", Address, "Persian digits"),
        ("१०.०.०.१:८०", Address, "Devanagari digits"),
        ("১০.০.০.১:৮০", Address, "Bengali digits"),
        ("๑๐.๐.๐.๑:๘๐", Address, "Thai digits"),
        ("၁၀.၀.၀.၁:၈၀", Address, "Burmese digits"),
        ("𞥑𞥐.𞥐.𞥐.𞥑:𞥘𞥐", Address, "Adlam digits"),
        ("1٠.0.0.१:8๐", Address, "digits of several scripts"),
        ("[::١]:80", Address, "in IPv6"),
        ("10。0。0。1:80", Address, "ideographic full stops"),
        ("１０｡０｡０｡１：８０", Address, "halfwidth full stops"),
        ("۱۰۔۰۔۰۔۱:۸۰", Address, "Urdu full stops"),
        ("١٢:٣٠", Passes, "a time"),
        ("๒๕๖๗", Passes, "a year"),
        ("राम१", Passes, "a name with a number"),
    ]);
}

#[test]
fn spare_zeros_and_brackets_hide_no_address() {
    check_table(&[
        ("[::ffff:010.0.0.1]:80", Address, "zeros in IPv4 in IPv6"),
        ("[::00001]:80", Address, "zeros in IPv6"),
        ("[000000:0::00001]:80", Address, "zeros in IPv6"),
        ("[::1:80", Address, "a bracket is missing"),
        ("::1]:80", Address, "a bracket is missing"),
        ("[[::1]]:80", Address, "brackets twice"),
        ("[10.0.0.1:80]", Address, "brackets around all of it"),
        ("[[::1]:80]", Address, "brackets around all of it"),
        ("[10.0.0.1]", Passes, "no port"),
        ("[12:30]", Passes, "a time"),
        ("[]:80", Passes, "no address"),
    ]);
}

#[test]
fn ones_own_address_may_be_spelled_in_any_digits() {
    for requested in ["١٢٧.٠.٠.١:٥٧٣٥٤", "127。0。0。1:57354", "[127.0.0.1]:57354"] {
        let own = parse(requested);
        assert_eq!(
            own.as_ref().map(Username::as_str),
            Ok("127.0.0.1:57354"),
            "{requested:?}"
        );
    }
    let own = parse_as("[::1]:80", "[0000:0::00001]:80");
    assert_eq!(own.as_ref().map(Username::as_str), Ok("[::1]:80"));
}

#[test]
fn nobody_ends_like_a_source() {
    check_table(&[
        ("alice:", EndsLikeSource, "as it is"),
        ("alice :", EndsLikeSource, "a space before"),
        ("alice: ", EndsLikeSource, "a space after"),
        ("alice：", EndsLikeSource, "fullwidth"),
        ("alice﹕", EndsLikeSource, "small"),
        ("alice︓", EndsLikeSource, "vertical"),
        ("alice∶", EndsLikeSource, "ratio"),
        ("alice꞉", EndsLikeSource, "a letter for a colon"),
        ("aliceː", EndsLikeSource, "a length mark"),
        ("alice˸", EndsLikeSource, "a raised colon"),
        ("alice։", EndsLikeSource, "Armenian full stop"),
        ("alice׃", EndsLikeSource, "Hebrew sof pasuq"),
        ("alice᛬", EndsLikeSource, "runic"),
        ("alice:\u{301}", EndsLikeSource, "a mark on it"),
        ("alice>", EndsLikeSource, "as it is"),
        ("alice＞", EndsLikeSource, "fullwidth"),
        ("alice﹥", EndsLikeSource, "small"),
        ("alice›", EndsLikeSource, "a quotation mark"),
        ("alice❯", EndsLikeSource, "an ornament"),
        ("alice≯", EndsLikeSource, "struck through"),
        ("alice>>>", EndsLikeSource, "a prompt"),
        ("a: b", Separator, "as it is"),
        ("a:\u{2003}b", Separator, "an em space"),
        ("a： b", Separator, "fullwidth"),
        ("a׃ b", Separator, "Hebrew sof pasuq"),
        ("a։ b", Separator, "Armenian full stop"),
        ("a:\u{332} b", Separator, "a mark on it"),
        ("[Server]: bye", Separator, "a line of the server"),
        ("a:b", Passes, "no space after it"),
        ("a :b", Passes, "no space after it"),
        ("x>y", Passes, "not at the end"),
        ("<3", Passes, "the other way round"),
        ("alice$", Passes, "not named"),
        ("a;", Passes, "a semicolon"),
    ]);
}

/// UTS 39 does not take these for colons, and a terminal shows two dots all the same.
#[test]
fn colons_of_other_scripts_end_no_name() {
    check_table(&[
        ("alice⦂", EndsLikeSource, "Z notation"),
        ("alice⁚", EndsLikeSource, "two dot punctuation"),
        ("alice៖", EndsLikeSource, "Khmer"),
        ("alice᠄", EndsLikeSource, "Mongolian"),
        ("aliceঃ", EndsLikeSource, "Bengali visarga"),
        ("aliceଃ", EndsLikeSource, "Odia visarga"),
        ("aliceః", EndsLikeSource, "Telugu visarga"),
        ("aliceಃ", EndsLikeSource, "Kannada visarga"),
        ("aliceഃ", EndsLikeSource, "Malayalam visarga"),
        ("aliceඃ", EndsLikeSource, "Sinhala visarga"),
        ("aliceཿ", EndsLikeSource, "Tibetan visarga"),
        ("aliceး", EndsLikeSource, "Burmese visarga"),
        ("aliceះ", EndsLikeSource, "Khmer reahmuk"),
        ("aliceঃ bob", Separator, "Bengali visarga"),
        ("alice⦂ bob", Separator, "Z notation"),
        ("নমঃ", Passes, "in its own script"),
        ("নমঃ শিবায়", Passes, "in its own script, then a space"),
        ("ဦး", Passes, "in its own script"),
        ("ဦး ဝင်း", Passes, "in its own script, then a space"),
        ("ព្រះ", Passes, "in its own script"),
        ("නමඃ", Passes, "in its own script"),
    ]);
}

#[test]
fn nobody_speaks_like_a_notice() {
    check_table(&[
        ("bob has entered the chat", Notice(0), "as it is"),
        ("bob has left the chat", Notice(1), "as it is"),
        ("bob renamed to eve", Notice(2), "as it is"),
        ("9 users have entered the chat", Notice(3), "a summary"),
        ("9 users have left the chat", Notice(4), "a summary"),
        ("HAS LEFT THE CHAT", Notice(1), "case"),
        (
            "bob has\u{3000}left\u{2003}the chat",
            Notice(1),
            "other spaces",
        ),
        ("bob has   left the chat", Notice(1), "several spaces"),
        ("bоb hаs lеft thе сhаt", Notice(1), "Cyrillic"),
        ("ｈａｓ ｌｅｆｔ ｔｈｅ ｃｈａｔ", Notice(1), "fullwidth"),
        ("𝐡𝐚𝐬 𝐥𝐞𝐟𝐭 𝐭𝐡𝐞 𝐜𝐡𝐚𝐭", Notice(1), "mathematical"),
        ("ʰᵃˢ ˡᵉᶠᵗ ᵗʰᵉ ᶜʰᵃᵗ", Notice(1), "superscripts"),
        ("bob has 1eft the chat", Notice(1), "a digit for a letter"),
        ("bob h̷a̷s̷ left the chat", Notice(1), "struck through"),
        ("bob réñämed tö eve", Notice(2), "accents"),
        ("bob renarned to eve", Notice(2), "two letters for one"),
        ("(has left the chat)", Notice(1), "something around it"),
        ("left the chat", Passes, "not all of it"),
        ("has left", Passes, "not all of it"),
        ("chat", Passes, "a word of it"),
        ("renamed", Passes, "a word of it"),
        ("has left the party", Passes, "another thing"),
    ]);
}

#[test]
fn nobody_ends_like_a_private_message() {
    check_table(&[
        ("bob (private)", Private, "as it is"),
        ("bob (PRIVATE)", Private, "case"),
        ("bob\u{A0}(private)\u{A0}", Private, "other spaces"),
        ("bob （ｐｒｉｖａｔｅ）", Private, "fullwidth"),
        ("bob (рrіvаtе)", Private, "Cyrillic"),
        ("bob (𝓹𝓻𝓲𝓿𝓪𝓽𝓮)", Private, "mathematical"),
        ("bob ❨private❩", Private, "other brackets"),
        ("bob (prívate)", Private, "an accent"),
        ("private", Passes, "the word"),
        ("(private) bob", Passes, "not at the end"),
        ("bob (privat)", Passes, "another word"),
    ]);
}

/// Who is here, who wants to come in, by which trick.
#[test]
fn nobody_looks_like_somebody_else() {
    let table: &[(&str, &str, &str)] = &[
        ("alice", "ALICE", "case"),
        ("alice", "аlice", "Cyrillic a"),
        ("alice", "αlice", "Greek alpha"),
        ("alice", "ɑlice", "Latin alpha"),
        ("alice", "aⅼice", "Roman numeral"),
        ("alice", "a1ice", "digit one"),
        ("alice", "aIice", "capital i"),
        ("alice", "a|ice", "a bar"),
        ("alice", "ａｌｉｃｅ", "fullwidth"),
        ("alice", "𝒶𝓁𝒾𝒸ℯ", "mathematical"),
        ("alice", "ᵃˡⁱᶜᵉ", "superscripts"),
        ("alice", "ⓐⓛⓘⓒⓔ", "circled"),
        ("alice", "аӏісе", "Cyrillic throughout"),
        ("alice", " alice\u{2009}", "spaces around"),
        ("admin", "adrnin", "two letters for one"),
        ("bob", "ЬоЬ", "soft signs"),
        ("scope", "ѕсоре", "Cyrillic throughout"),
        ("SCOPE", "ЅСОРЕ", "Cyrillic capitals"),
        ("Kelvin", "\u{212A}elvin", "Kelvin sign"),
        (
            "Ångström",
            "\u{212B}ngstro\u{308}m",
            "Ångström sign, decomposed",
        ),
        ("José", "Jose\u{301}", "decomposed"),
        ("ﬁona", "fiona", "a ligature"),
        ("Ǆemal", "DŽEMAL", "a digraph"),
        ("Weiß", "WEISS", "sharp s"),
        ("Σίσυφος", "ΣΊΣΥΦΟΣ", "final sigma"),
        ("ΑΝΝΑ", "ANNA", "Greek in Latin"),
        ("Анна", "АННА", "Cyrillic case"),
        ("Ծով", "ԾՈՎ", "Armenian case"),
        ("ნინო", "ᲜᲘᲜᲝ", "Georgian case"),
        ("𐐨𐑊", "𐐀𐐢", "Deseret case"),
        ("user0", "userО", "Cyrillic O for a zero"),
        ("user 3", "user З", "Cyrillic Ze for a three"),
        ("a-b", "a‐b", "a hyphen"),
        ("a-b", "a−b", "a minus"),
        ("a-b", "a–b", "a dash"),
        ("O'Neill", "O’Neill", "an apostrophe"),
        ("O'Neill", "Oʼneill", "a letter apostrophe"),
        ("a b", "a\u{A0}b", "a no-break space"),
        ("ガガ", "ｶﾞｶﾞ", "halfwidth Kana"),
        ("カロ", "力口", "Han for Kana"),
        (
            "가나",
            "\u{1100}\u{1161}\u{1102}\u{1161}",
            "Hangul in pieces",
        ),
        ("豈", "\u{F900}", "a compatibility ideograph"),
        ("علی", "على", "Arabic ya without dots"),
        ("میخواهم", "می\u{200C}خواهم", "a non-joiner"),
        ("क्ष", "क्\u{200D}ष", "a joiner"),
        ("❤", "❤\u{FE0F}", "an emoji selector"),
        ("☎", "☎\u{FE0F}", "an emoji selector"),
        ("12:30", "12∶30", "a ratio"),
    ];
    let failures: Vec<String> = table
        .iter()
        .filter(|(present, asked, _)| {
            let (present, asked) = (name(present).keys(), name(asked).keys());
            present.folded_first != asked.folded_first && present.folded_last != asked.folded_last
        })
        .map(|(present, asked, why)| format!("{asked:?} is not {present:?} ({why})"))
        .collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn every_decimal_digit_is_read() {
    let digits = known_characters()
        .filter(|character| !character.is_ascii())
        .filter(|digit| parse(&format!("{digit}.0.0.1:80")) == Err(NameError::LooksLikeAddress))
        .count();
    // Unicode 16 has so many beside ASCII; look-alikes of those come on top.
    assert!(digits >= 750, "only {digits} characters are read as digits");
}

#[test]
fn digits_of_every_script_have_their_value() {
    // Zeros: Arabic, Persian, N'Ko, Devanagari, Tamil, Thai, Tibetan, Burmese, Shan, Khmer, Lepcha,
    // Vai, Saurashtra, fullwidth, the last mathematical row, Adlam, segmented.
    let zeros = "٠۰߀०௦๐༠၀႐០᱀꘠꣐０𝟶𞥐🯰";
    for zero in zeros.chars() {
        for value in 0..10 {
            let digit = char::from_u32(u32::from(zero) + value).expect("a digit");
            let address = format!("1{value}.0.0.1:80");
            let own = parse_as(&address, &format!("1{digit}.0.0.1:80"));
            assert_eq!(
                own.as_ref().map(Username::as_str),
                Ok(address.as_str()),
                "{digit:?}"
            );
        }
    }
}
