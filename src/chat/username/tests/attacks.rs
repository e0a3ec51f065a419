//! Names that imitate something, by trick. `|` separates the names of a row.

use icu_properties::props::GeneralCategory;

use super::super::characters::category;
use super::super::{NameError, Username, impersonation};
use super::{OWN, check, check_refused, collide, parse, parse_as};

#[track_caller]
fn all_refused(expected: &NameError, table: &[(&str, &str)]) {
    for (trick, names) in table {
        for requested in names.split('|') {
            let result = parse(requested);
            assert_eq!(result.as_ref(), Err(expected), "{requested:?} ({trick})");
        }
    }
}

#[track_caller]
fn all_pass(names: &str) {
    for requested in names.split('|') {
        let result = parse(requested);
        assert!(result.is_ok(), "{requested:?}: {result:?}");
    }
}

fn notice(number: usize) -> NameError {
    let phrase = impersonation::NOTICES[number];
    NameError::ReadsLikeNotice { phrase }
}

#[test]
fn server_imitations_are_refused() {
    all_refused(
        &NameError::Reserved,
        &[
            ("case", "[Server]|[server]|[SERVER]|[ſERVEr]"),
            (
                "spaces",
                " [Server]\u{3000}|[\u{2009}Server\u{A0}]|[S e r ver]",
            ),
            ("Cyrillic", "[Ѕеrvеr]|[ЅЕRVЕR]|[Serveг]"),
            ("Greek", "[Serνer]|[SΕRVΕR]"),
            ("Armenian and Cherokee", "[Տerver]|[ᏚᎬᎡᏙᎬᎡ]|[Ꮪerver]"),
            ("fullwidth", "［Ｓｅｒｖｅｒ］"),
            ("mathematical", "[𝐒𝐞𝐫𝐯𝐞𝐫]|[𝔖𝔢𝔯𝔳𝔢𝔯]|[𝚂𝚎𝚛𝚟𝚎𝚛]|[𝕊𝕖𝕣𝕧𝕖𝕣]"),
            (
                "superscript, circled, squared",
                "[ˢᵉʳᵛᵉʳ]|[Ⓢⓔⓡⓥⓔⓡ]|[🅂🄴🅁🅅🄴🅁]",
            ),
            ("accents", "[Se\u{301}rver]|[S\u{E9}rver]|[Ṡḛṙṽḝṛ]"),
            ("other marks", "[S̶e̶r̶v̶e̶r̶]|[S\u{20DD}erver]|[Sɇrver]"),
            ("small capitals", "[ꜱᴇʀᴠᴇʀ]|[Sᴇʀᴠᴇʀ]"),
            ("white on black", "[🆂🅴🆁🆅🅴🆁]|[🅢🅔🅡🅥🅔🅡]"),
            (
                "lenticular and white brackets",
                "【Server】|⟦Server⟧|〚Ѕеrvеr〛",
            ),
            (
                "other brackets",
                "⁅Server⁆|〔Server〕|❲Server❳|「Server」|﹝Server﹞",
            ),
        ],
    );
    all_pass("Server|[ՏerverЈ|[Servers]|[Service]|[Observer]|[bot]|(Server)|{Server}|[Сервер]");
    all_pass("ᴀʟɪᴄᴇ|🅰🅱|ʔəɪ|【山田】|「さくら」|⟨bra⟩");
}

#[test]
fn foreign_addresses_are_refused() {
    all_refused(
        &NameError::LooksLikeAddress,
        &[
            (
                "plain",
                "10.0.0.1:5555|0.0.0.0:0|255.255.255.255:65535|127.0.0.1:57355",
            ),
            (
                "large port",
                "10.0.0.1:65536|10.0.0.1:9999999999999999999999",
            ),
            (
                "spaces",
                " 10.0.0.1:80|10.0.0.1: 80|10.0.0.1 :80|10 .0 .0 .1 :80",
            ),
            (
                "zeros",
                "010.000.0.001:080|[::ffff:010.0.0.1]:80|[::00001]:80|[000000:0::1]:80",
            ),
            (
                "letters for digits",
                "lO.o.O.I:8O|1O.0.0.1:5555|127.O.O.l:57354|[::l]:80",
            ),
            ("Cyrillic and Greek", "1О.0.0.1:80|1Ο.0.0.1:80|10.0.0.1:З0"),
            (
                "fullwidth",
                "１０．０．０．１：８０|［::1］：80|[２００１:ｄｂ８::ａ]:80",
            ),
            ("mathematical", "𝟏𝟎.𝟎.𝟎.𝟏:𝟖𝟎"),
            (
                "superscript and circled",
                "¹⁰.⁰.⁰.¹:⁸⁰|₁₀.₀.₀.₁:₈₀|①⓪.⓪.⓪.①:80",
            ),
            ("stops and keycaps", "⒑0.0.1:80|⒈⒈⒈1:80|1️⃣0️⃣.0.0.1️⃣:80"),
            ("marks", "1\u{332}0.0.0.1:80|10\u{20DD}.0.0.1:80"),
            ("dots and colons", "10․0․0․1:80|10.0.0.1∶80|10.0.0.1꞉80"),
            (
                "IPv6",
                "[::1]:80|[::]:80|[2001:DB8::A]:80|[2001:db8:0:0::a]:80|[fe80::1%eth0]:80",
            ),
            ("IPv6 look-alikes", "[2ool:db8::l]:8o|[2001:dЬ8::а]:80"),
            ("IPv4 in IPv6", "[::ffff:10.0.0.1]:80|[::ffff:a00:1]:80"),
            (
                "brackets",
                "::1:80|[::1:80|::1]:80|[[::1]]:80|[[::1]:80]|[10.0.0.1]:80|[10.0.0.1:80]",
            ),
            (
                "Arabic and Persian digits",
                "١٠.٠.٠.١:٨٠|۱۰.۰.۰.۱:۸۰|[::١]:80",
            ),
            ("Indic digits", "१०.०.०.१:८०|১০.০.০.১:৮০"),
            (
                "Thai, Burmese, Adlam",
                "๑๐.๐.๐.๑:๘๐|၁၀.၀.၀.၁:၈၀|𞥑𞥐.𞥐.𞥐.𞥑:𞥘𞥐",
            ),
            ("mixed digits", "1٠.0.0.१:8๐"),
            (
                "full stops",
                "10。0。0。1:80|１０｡０｡０｡１：８０|۱۰۔۰۔۰۔۱:۸۰",
            ),
        ],
    );
    check_refused("|0.0.0.1:80", &NameError::LooksLikeAddress);
    all_pass("10.0.0.1|[::1]|10.0.0:80|10.0.0.0.1:80|10.0.0.256:80|12:30|1:2:3|v1.2.3.4:5");
    all_pass("example.org:80|localhost:80|127.0.0.1:http|a.b.c.d:80|10.0.0.1:80/x|[]:80|[12:30]");
    all_pass("١٢:٣٠|๒๕๖๗|राम१");
}

#[test]
fn own_address_is_accepted_in_any_spelling() {
    for requested in [
        OWN,
        "  127.0.0.1:57354 ",
        "[127.0.0.1]:57354",
        "１２７．０．０．１：５７３５４",
        "١٢٧.٠.٠.١:٥٧٣٥٤",
        "127。0。0。1:57354",
        "[::ffff:127.0.0.1]:57354",
        "127.0.0.1:057354",
    ] {
        check(requested, OWN);
        let mapped = parse_as("[::ffff:127.0.0.1]:57354", requested);
        assert_eq!(mapped.as_ref().map(Username::as_str), Ok(OWN));
    }
    let own = parse_as("[::1]:80", "[0000:0::00001]:80");
    assert_eq!(own.as_ref().map(Username::as_str), Ok("[::1]:80"));
    let long = "[2001:db8:1111:2222:3333:4444:5555:6666]:57354";
    let own = parse_as(long, long);
    assert_eq!(own.as_ref().map(Username::as_str), Ok(long));
    check_refused(long, &NameError::TooLong { graphemes: 46 });
}

#[test]
fn every_decimal_digit_has_its_value() {
    let is_digit = |character: &char| category(*character) == GeneralCategory::DecimalNumber;
    for digit in ('\0'..='\u{1FFFF}').filter(is_digit) {
        check_refused(&format!("{digit}.0.0.1:80"), &NameError::LooksLikeAddress);
    }
}

#[test]
fn digits_of_every_script_have_their_value() {
    // Zeros: Arabic, Persian, N'Ko, Devanagari, Tamil, Thai, Tibetan, Burmese, Shan, Khmer, Lepcha,
    // Vai, Saurashtra, fullwidth, the last mathematical row, Adlam, segmented.
    for zero in "٠۰߀०௦๐༠၀႐០᱀꘠꣐０𝟶𞥐🯰".chars() {
        for value in 0..10 {
            let digit = char::from_u32(u32::from(zero) + value).expect("a digit");
            let address = format!("1{value}.0.0.1:80");
            let own = parse_as(&address, &format!("1{digit}.0.0.1:80"));
            assert_eq!(
                own.as_ref().map(Username::as_str),
                Ok(&*address),
                "{digit:?}"
            );
        }
    }
}

#[test]
fn names_that_end_like_a_source_are_refused() {
    all_refused(
        &NameError::EndsLikeSource,
        &[
            (
                "colon",
                "alice:|alice :|:|alice: |alice:\u{301}|alice:\u{307}",
            ),
            (
                "colon look-alikes",
                "alice：|alice﹕|alice︓|alice∶|alice꞉|aliceː|alice˸|aliceꓽ",
            ),
            ("stops of other scripts", "alice։|alice׃|alice᛬|राम։"),
            ("colons unknown to UTS 39", "alice⦂|alice⁚|alice៖|alice᠄"),
            (
                "visargas after Latin",
                "aliceः|aliceঃ|aliceଃ|aliceః|aliceಃ|aliceഃ|aliceඃ|aliceཿ",
            ),
            ("vowel signs after Latin", "aliceး|aliceះ"),
            (
                "greater than",
                "alice>|>|->|alice>>>|alice＞|alice﹥|alice›|alice❯|alice≯|aliceᐳ",
            ),
        ],
    );
    all_refused(
        &NameError::Separator,
        &[
            (
                "colon",
                "a: b|[Server]: bye|a:\u{2003}b|a:\u{3000}b|a:\u{332} b|a:\u{307} b",
            ),
            (
                "colon look-alikes",
                "a： b|a∶ b|aː b|a׃ b|a։ b|aः b|aliceঃ bob|alice⦂ bob",
            ),
        ],
    );
    all_pass("a:b|a :b|x>y|<3|alice$|a;");
    // These letters look like a colon or `>`, and end words of their own script.
    all_pass("रामः|रामः सीता|નમઃ|ᐃᓄᒃᐳ|ꓐꓬꓽ|क्\u{200D}ः|নমঃ শিবায়|ဦး ဝင်း|ព្រះ|නමඃ");
}

#[test]
fn notice_imitations_are_refused() {
    for (number, names) in [
        (0, "bob has entered the chat|bob HAS ENTERED THE CHAT"),
        (
            1,
            "bob has left the chat|has left the chat!|(has left the chat)|HAS LEFT THE CHAT",
        ),
        (
            1,
            "bob has\u{3000}left\u{2003}the chat|bob has   left the chat|bоb hаs lеft thе сhаt",
        ),
        (
            1,
            "ｈａｓ ｌｅｆｔ ｔｈｅ ｃｈａｔ|𝐡𝐚𝐬 𝐥𝐞𝐟𝐭 𝐭𝐡𝐞 𝐜𝐡𝐚𝐭|ʰᵃˢ ˡᵉᶠᵗ ᵗʰᵉ ᶜʰᵃᵗ",
        ),
        (
            1,
            "bob has 1eft the chat|bob h̷a̷s̷ left the chat|bob ʜᴀꜱ ʟᴇꜰᴛ ᴛʜᴇ ᴄʜᴀᴛ",
        ),
        (1, "bob 🅷🅰🆂 🅻🅴🅵🆃 🆃🅷🅴 🅲🅷🅰🆃"),
        (
            2,
            "bob renamed to eve|bob rena\u{336}med to|bob renarned to eve|bob réñämed tö eve",
        ),
        (3, "9 users have entered the chat"),
        (4, "9 users have left the chat"),
    ] {
        all_refused(&notice(number), &[("notice", names)]);
    }
    all_pass("left the chat|has left|chat|renamed|has left the party");
}

#[test]
fn private_source_imitations_are_refused() {
    let names = "bob (private)|bob (PRIVATE)|bob\u{A0}(private)\u{A0}|bob （ｐｒｉｖａｔｅ）|\
                 bob (рrіvаtе)|bob (𝓹𝓻𝓲𝓿𝓪𝓽𝓮)|bob ❨private❩|bob (prívate)|bob (p\u{332}rivate)|\
                 alice (ᴘʀɪᴠᴀᴛᴇ)|alice (pr1vate) (private) ";
    all_refused(&NameError::LooksPrivate, &[("private", names)]);
    all_pass("private|(private) bob|bob (privat)");
}

#[test]
fn look_alikes_of_a_taken_name_collide() {
    for (taken, requested) in [
        (
            "alice",
            "ALICE|аlice|АLICE|αlice|ɑlice|aⅼice|a1ice|aIice|ａｌｉｃｅ|𝒶𝓁𝒾𝒸ℯ",
        ),
        ("alice", "ᵃˡⁱᶜᵉ|ⓐⓛⓘⓒⓔ|аӏісе| alice\u{2009}"),
        ("admin", "adrnin"),
        ("bob", "ЬоЬ"),
        ("SCOPE", "ЅСОРЕ"),
        ("K", "\u{212A}"),
        ("Ångström", "\u{212B}ngstro\u{308}m"),
        ("José", "Jose\u{301}|JOSE\u{301}"),
        ("ﬁona", "fiona"),
        ("Ǆemal", "DŽEMAL"),
        ("Straße", "STRASSE|STRAẞE"),
        ("İpek", "i\u{307}pek"),
        ("ırmak", "IRMAK"),
        ("Σίσυφος", "ΣΊΣΥΦΟΣ"),
        ("ᾳ", "ΑΙ"),
        ("ΑΝΝΑ", "ANNA"),
        ("Анна", "АННА"),
        ("Ծով", "ԾՈՎ"),
        ("ნინო", "ᲜᲘᲜᲝ"),
        ("ᏣᎳᎩ", "ꮳꮃꭹ"),
        ("𐐨𐑊", "𐐀𐐢"),
        ("user0", "userO|userО"),
        ("user 3", "user З"),
        ("a-b", "a‐b|a−b|a–b"),
        ("O'Neill", "O’Neill|Oʼneill"),
        ("a b", "a\u{A0}b"),
        ("ガガ", "ｶﾞｶﾞ"),
        ("カロ", "力口"),
        ("가나", "\u{1100}\u{1161}\u{1102}\u{1161}"),
        ("豈", "\u{F900}"),
        ("علی", "على"),
        ("میخواهم", "می\u{200C}خواهم"),
        ("क्ष", "क्\u{200D}ष"),
        ("❤", "❤\u{FE0F}"),
        ("12:30", "12∶30"),
    ] {
        for requested in requested.split('|') {
            assert!(collide(taken, requested), "{taken:?} and {requested:?}");
        }
    }
    assert!(collide("alice", "a|ice"));
}

#[test]
fn distinct_names_do_not_collide() {
    let names = "alice|bob|carol|José|Jose|user_42|user_43|Ольга|Олег|山田|山本|محمد|محمود|Zoë|Zoe|\
                 łódź|lodz|C|C++|a b|ab|a.b|a-b|🇨🇿|🇸🇰|👍|👍🏽|❤|김|이|strase|strasse";
    let names: Vec<&str> = names.split('|').collect();
    for (index, a) in names.iter().enumerate() {
        for b in &names[..index] {
            assert!(!collide(a, b), "{a:?} and {b:?}");
        }
    }
}
