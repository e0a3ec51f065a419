//! Names of every living script that pass, and attacks on them.

use unicode_normalization::UnicodeNormalization;

use super::super::{CharacterFault, NameError};
use super::{FORBIDDEN, collide, name, parse};

/// Script, and common names in it, separated by `|`. No two names of a row collide.
const NAMES: &[(&str, &str)] = &[
    (
        "Latin",
        "Jürgen|Françoise|Łukasz|Þóra|Ngũgĩ|Nguyễn Văn Ế|Dvořák|Şükrü|D’Arcy|O'Neill|Mary-Jane|\
         Ọlábísí|Ɓala|Mʻahi|ʻIolani|J. R. R.|x_X_x",
    ),
    ("Greek", "Γιώργος|Ελένη|Ἀλέξανδρος|ΆΝΝΑ|Μαΐου"),
    (
        "Cyrillic",
        "Ольга|Пётр|Їжак|Ђорђе|Ўладзь|Қайрат|Өнөр|Ҷамшед",
    ),
    ("Armenian", "Արամ|Գոհար|Հովհաննես"),
    ("Georgian", "გიორგი|ნინო|ᲜᲘᲜᲝ ა"),
    (
        "Arabic",
        "محمد|مُحَمَّد|عبد الله|فاطمة|علی‌رضا|پژمان|ٹیپو|ڤان|گۈل",
    ),
    ("Hebrew", "דוד|שָׁלוֹם|רבקה בת־שבע|צ׳רלי|ז״ל"),
    ("Syriac", "ܐܒܓܪ|ܝܘܚܢܢ"),
    ("Thaana", "އަޙްމަދު|މަރިޔަމް"),
    ("N'Ko", "ߒߞߏ|ߡߊ߬ߡߊ߬ߘߎ߫"),
    ("Devanagari", "नरेन्द्र|श्रीमती|राजेश कुमार|क्‍षमा|ज़ोया|रामः"),
    ("Bengali", "রবীন্দ্রনাথ|শ্যামলী|দুঃখ|নমঃ"),
    ("Gurmukhi", "ਗੁਰਪ੍ਰੀਤ|ਸਿੰਘ|ਨਮਃ"),
    ("Gujarati", "નરેન્દ્ર|મોહનદાસ|નમઃ"),
    ("Odia", "ଓଡ଼ିଆ|ପ୍ରତିଭା|ନମଃ"),
    ("Tamil", "தமிழ்ச்செல்வி|கமல்ஹாசன்|ஃ"),
    ("Telugu", "రామారావు|శ్రీనివాస్|నమః"),
    ("Kannada", "ಕನ್ನಡ|ಶ್ರೀಧರ|ನಮಃ"),
    ("Malayalam", "മലയാളം|നാരായണൻ|നമഃ|അവന്‍"),
    ("Sinhala", "සිංහල|ශ්‍රී ලංකා|නමඃ"),
    ("Thai", "สมชาย|น้ำฝน|ใจดี|เก่ง|ญี่ปุ่น"),
    ("Lao", "ສົມສັກ|ບຸນມີ|ນໍ້າ"),
    ("Khmer", "សុខា|ខ្ញុំ|ចន្ទ្រា|ព្រះ"),
    ("Myanmar", "အောင်ဆန်းစုကြည်|လျှော့|မောင်|ဦး|နေဝင်း"),
    ("Tibetan", "བསྟན་འཛིན་|རྒྱ་མཚོ|ཨཿ"),
    ("Ethiopic", "አበበ|ኃይለ ሥላሴ|ትዕግሥት"),
    ("Mongolian", "ᠮᠣᠩᠭᠣᠯ|ᠪᠠᠲᠤ"),
    ("Cherokee", "ᏣᎳᎩ|ᏎᏉᏯ"),
    ("Canadian", "ᐃᓄᒃᑎᑐᑦ|ᐊᓈᓇ|ᐃᓄᒃᐳ"),
    ("Tifinagh", "ⵜⵉⴼⵉⵏⴰⵖ|ⴰⵎⵣⵉⵖ"),
    ("Javanese", "ꦗꦮ|ꦱꦫꦱ꧀ꦮꦠꦶ"),
    ("Balinese", "ᬩᬮᬶ|ᬯᬬᬦ᭄"),
    ("Meetei Mayek", "ꯃꯤꯇꯩ|ꯏꯕꯣꯃꯆꯥ"),
    ("Ol Chiki", "ᱥᱟᱱᱛᱟᱲ|ᱨᱟᱹᱜᱷᱩ"),
    ("Chakma", "𑄌𑄋𑄴𑄟𑄳𑄦|𑄢𑄋𑄟𑄖𑄴𑄖𑄴"),
    ("Adlam", "𞤀𞤣𞤤𞤢𞤥|𞤆𞤵𞤤𞤢𞤪"),
    ("Vai", "ꕙꔤ|ꗏꖺ"),
    ("Yi", "ꆈꌠ|ꊿꋠ"),
    ("Han", "山田太郎|王小明|歐陽娜娜|𠮷野家|々木|〇五"),
    ("Kana", "さくら|アリス|みゃー|ヴァン|ガガ|ｱﾘｽ様"),
    ("Hangul", "김철수|이영희|하늘 바다|ㅋㅋㅋ"),
    ("Bopomofo", "ㄅㄆㄇ|ㄓㄨㄥ"),
    ("emoji", "🦀|👨‍👩‍👧‍👦|🏳️‍🌈|🏴‍☠️|👩🏽‍💻|🇺🇦|🏴󠁧󠁢󠁷󠁬󠁳󠁿|#️⃣|❤️‍🔥|🫱🏻‍🫲🏿|👁️‍🗨️|🧑🏾‍🦯‍➡️|☎️"),
    (
        "mixed",
        "Ana 🌸|山田 Taro|Ёжик42|λ-calculus|αβγ|naïve№1|Владимир VI|a·b",
    ),
];

fn all_names() -> impl Iterator<Item = &'static str> {
    NAMES.iter().flat_map(|(_, names)| names.split('|'))
}

/// Returns the name with `inserted` at each position, both ends included.
fn insertions(name: &str, inserted: char) -> impl Iterator<Item = String> {
    let positions = name.char_indices().map(|(position, _)| position);
    positions.chain([name.len()]).map(move |position| {
        let (before, after) = name.split_at(position);
        format!("{before}{inserted}{after}")
    })
}

#[test]
fn names_of_every_living_script_are_accepted() {
    for requested in all_names() {
        let name = name(requested);
        assert_eq!(parse(name.as_str()).as_ref(), Ok(&name), "{requested:?}");
    }
}

#[test]
fn names_of_one_script_do_not_collide() {
    for (script, names) in NAMES {
        let names: Vec<&str> = names.split('|').collect();
        for (index, a) in names.iter().enumerate() {
            for b in &names[..index] {
                assert!(!collide(a, b), "{script}: {a:?} and {b:?}");
            }
        }
    }
}

#[test]
fn normal_forms_and_cases_of_a_name_collide_with_it() {
    for requested in all_names() {
        let variants: [String; 7] = [
            requested.nfc().collect(),
            requested.nfd().collect(),
            requested.nfkc().collect(),
            requested.nfkd().collect(),
            requested.to_uppercase(),
            requested.to_lowercase(),
            format!("\u{3000}{requested}\u{A0} "),
        ];
        for variant in variants {
            assert!(
                collide(requested, &variant),
                "{requested:?} and {variant:?}"
            );
        }
    }
}

#[test]
fn forbidden_characters_are_refused_in_every_script() {
    let forbidden: Vec<(CharacterFault, char)> = FORBIDDEN
        .iter()
        .flat_map(|(fault, characters)| characters.chars().map(|character| (*fault, character)))
        .collect();
    // Each name gets another part of the list.
    let mut next = (0..forbidden.len()).cycle();
    for requested in all_names() {
        for _ in 0..8 {
            let (fault, character) = forbidden[next.next().unwrap_or(0)];
            for attack in insertions(requested, character) {
                let refused = parse(&attack);
                let expected = NameError::ForbiddenCharacter { character, fault };
                // Within an emoji or before a joiner, the other part may be refused first.
                let is_misplaced = matches!(
                    refused,
                    Err(NameError::ForbiddenCharacter {
                        fault: CharacterFault::Misplaced,
                        ..
                    })
                );
                assert!(
                    is_misplaced || refused.as_ref() == Err(&expected),
                    "{attack:?}: {refused:?}"
                );
            }
        }
    }
}

#[test]
fn inserted_joiner_selector_or_tag_never_makes_another_name() {
    for requested in all_names() {
        for inserted in "\u{200C}\u{200D}\u{FE0E}\u{FE0F}\u{E0067}\u{E007F}".chars() {
            for attack in insertions(requested, inserted) {
                let is_refused = parse(&attack).is_err();
                assert!(is_refused || collide(requested, &attack), "{attack:?}");
            }
        }
    }
}

#[test]
fn five_marks_are_refused_in_every_script() {
    for requested in all_names() {
        for mark in "\u{301}\u{336}\u{489}\u{E31}\u{64B}\u{20DD}".chars() {
            let attack = format!("{requested}{}", mark.to_string().repeat(5));
            let refused = parse(&attack);
            let is_expected = matches!(
                refused,
                Err(NameError::TooManyMarks
                    | NameError::ForbiddenCharacter {
                        fault: CharacterFault::Misplaced,
                        ..
                    })
            );
            assert!(is_expected, "{attack:?}: {refused:?}");
        }
    }
}

#[test]
fn source_endings_are_refused_after_every_script() {
    let notice = |phrase| NameError::ReadsLikeNotice { phrase };
    let endings = [
        (":", NameError::EndsLikeSource),
        ("：", NameError::EndsLikeSource),
        (" >", NameError::EndsLikeSource),
        ("：\u{3000}x", NameError::Separator),
        (" (Рrіvаtе)", NameError::LooksPrivate),
        (" has left the chat", notice("has left the chat")),
        (" renamed to", notice("renamed to")),
    ];
    for requested in all_names() {
        for (ending, expected) in &endings {
            let attack = format!("{requested}{ending}");
            match parse(&attack) {
                Err(NameError::TooLong { .. }) if attack.chars().count() > 32 => {}
                other => assert_eq!(other.as_ref(), Err(expected), "{attack:?}"),
            }
        }
    }
}
