//! Names of every living script that pass, and what no script may bring in.

use super::super::{CharacterFault, NameError, Username};
use super::{name, parse};
use unicode_normalization::UnicodeNormalization;

/// Script, and names that people of it have. No two of one row count as one name.
const NAMES: &[(&str, &[&str])] = &[
    (
        "Latin",
        &[
            "Jürgen",
            "Françoise",
            "Łukasz",
            "Þóra",
            "Ngũgĩ",
            "Nguyễn Văn Ế",
            "Dvořák",
            "Şükrü",
            "D’Arcy",
            "O'Neill",
            "Mary-Jane",
            "Ọlábísí",
            "Ɓala",
            "Mʻahi",
            "ʻIolani",
            "J. R. R.",
            "x_X_x",
        ],
    ),
    (
        "Greek",
        &["Γιώργος", "Ελένη", "Ἀλέξανδρος", "ΆΝΝΑ", "Μαΐου"],
    ),
    (
        "Cyrillic",
        &[
            "Ольга",
            "Пётр",
            "Їжак",
            "Ђорђе",
            "Ўладзь",
            "Қайрат",
            "Өнөр",
            "Ҷамшед",
        ],
    ),
    ("Armenian", &["Արամ", "Գոհար", "Հովհաննես"]),
    ("Georgian", &["გიორგი", "ნინო", "ᲜᲘᲜᲝ ა"]),
    (
        "Arabic",
        &[
            "محمد",
            "مُحَمَّد",
            "عبد الله",
            "فاطمة",
            "علی‌رضا",
            "پژمان",
            "ٹیپو",
            "ڤان",
            "گۈل",
        ],
    ),
    ("Hebrew", &["דוד", "שָׁלוֹם", "רבקה בת־שבע", "צ׳רלי", "ז״ל"]),
    ("Syriac", &["ܐܒܓܪ", "ܝܘܚܢܢ"]),
    ("Thaana", &["އަޙްމަދު", "މަރިޔަމް"]),
    ("N'Ko", &["ߒߞߏ", "ߡߊ߬ߡߊ߬ߘߎ߫"]),
    (
        "Devanagari",
        &["नरेन्द्र", "श्रीमती", "राजेश कुमार", "क्‍षमा", "ज़ोया", "रामः"],
    ),
    ("Bengali", &["রবীন্দ্রনাথ", "শ্যামলী", "দুঃখ", "নমঃ"]),
    ("Gurmukhi", &["ਗੁਰਪ੍ਰੀਤ", "ਸਿੰਘ", "ਨਮਃ"]),
    ("Gujarati", &["નરેન્દ્ર", "મોહનદાસ", "નમઃ"]),
    ("Odia", &["ଓଡ଼ିଆ", "ପ୍ରତିଭା", "ନମଃ"]),
    ("Tamil", &["தமிழ்ச்செல்வி", "கமல்ஹாசன்", "ஃ"]),
    ("Telugu", &["రామారావు", "శ్రీనివాస్", "నమః"]),
    ("Kannada", &["ಕನ್ನಡ", "ಶ್ರೀಧರ", "ನಮಃ"]),
    ("Malayalam", &["മലയാളം", "നാരായണൻ", "നമഃ", "അവന്‍"]),
    ("Sinhala", &["සිංහල", "ශ්‍රී ලංකා", "නමඃ"]),
    ("Thai", &["สมชาย", "น้ำฝน", "ใจดี", "เก่ง", "ญี่ปุ่น"]),
    ("Lao", &["ສົມສັກ", "ບຸນມີ", "ນໍ້າ"]),
    ("Khmer", &["សុខា", "ខ្ញុំ", "ចន្ទ្រា", "ព្រះ"]),
    ("Myanmar", &["အောင်ဆန်းစုကြည်", "လျှော့", "မောင်", "ဦး", "နေဝင်း"]),
    ("Tibetan", &["བསྟན་འཛིན་", "རྒྱ་མཚོ", "ཨཿ"]),
    ("Ethiopic", &["አበበ", "ኃይለ ሥላሴ", "ትዕግሥት"]),
    ("Mongolian", &["ᠮᠣᠩᠭᠣᠯ", "ᠪᠠᠲᠤ"]),
    ("Cherokee", &["ᏣᎳᎩ", "ᏎᏉᏯ"]),
    ("Canadian", &["ᐃᓄᒃᑎᑐᑦ", "ᐊᓈᓇ", "ᐃᓄᒃᐳ"]),
    ("Tifinagh", &["ⵜⵉⴼⵉⵏⴰⵖ", "ⴰⵎⵣⵉⵖ"]),
    ("Javanese", &["ꦗꦮ", "ꦱꦫꦱ꧀ꦮꦠꦶ"]),
    ("Balinese", &["ᬩᬮᬶ", "ᬯᬬᬦ᭄"]),
    ("Meetei Mayek", &["ꯃꯤꯇꯩ", "ꯏꯕꯣꯃꯆꯥ"]),
    ("Ol Chiki", &["ᱥᱟᱱᱛᱟᱲ", "ᱨᱟᱹᱜᱷᱩ"]),
    ("Chakma", &["𑄌𑄋𑄴𑄟𑄳𑄦", "𑄢𑄋𑄟𑄖𑄴𑄖𑄴"]),
    ("Adlam", &["𞤀𞤣𞤤𞤢𞤥", "𞤆𞤵𞤤𞤢𞤪"]),
    ("Vai", &["ꕙꔤ", "ꗏꖺ"]),
    ("Yi", &["ꆈꌠ", "ꊿꋠ"]),
    (
        "Han",
        &["山田太郎", "王小明", "歐陽娜娜", "𠮷野家", "々木", "〇五"],
    ),
    (
        "Kana",
        &["さくら", "アリス", "みゃー", "ヴァン", "ガガ", "ｱﾘｽ様"],
    ),
    ("Hangul", &["김철수", "이영희", "하늘 바다", "ㅋㅋㅋ"]),
    ("Bopomofo", &["ㄅㄆㄇ", "ㄓㄨㄥ"]),
    (
        "emoji",
        &[
            "🦀",
            "👨‍👩‍👧‍👦",
            "🏳️‍🌈",
            "🏴‍☠️",
            "👩🏽‍💻",
            "🇺🇦",
            "🏴󠁧󠁢󠁷󠁬󠁳󠁿",
            "#️⃣",
            "❤️‍🔥",
            "🫱🏻‍🫲🏿",
            "👁️‍🗨️",
            "🧑🏾‍🦯‍➡️",
            "☎️",
        ],
    ),
    (
        "mixed",
        &[
            "Ana 🌸",
            "山田 Taro",
            "Ёжик42",
            "λ-calculus",
            "αβγ",
            "naïve№1",
            "Владимир VI",
            "a·b",
        ],
    ),
];

fn all_names() -> impl Iterator<Item = (&'static str, &'static str)> {
    NAMES
        .iter()
        .flat_map(|(script, names)| names.iter().map(|name| (*script, *name)))
}

/// Tells all rows that fail at once.
#[track_caller]
fn none(failures: Vec<String>) {
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn names_of_every_living_script_pass() {
    none(
        all_names()
            .filter_map(|(script, requested)| {
                let error = match parse(requested) {
                    Ok(name) if parse(name.as_str()).as_ref() == Ok(&name) => return None,
                    Ok(name) => format!("becomes {name}, which is not stable"),
                    Err(error) => error.to_string(),
                };
                Some(format!("{script}: {requested:?}: {error}"))
            })
            .collect(),
    );
}

#[test]
fn names_of_one_script_stay_apart() {
    let mut failures = Vec::new();
    for (script, names) in NAMES {
        for (index, first) in names.iter().enumerate() {
            for second in &names[..index] {
                let (a, b) = (name(first).keys(), name(second).keys());
                if a.folded_first == b.folded_first || a.folded_last == b.folded_last {
                    failures.push(format!("{script}: {first:?} and {second:?} are one"));
                }
            }
        }
    }
    none(failures);
}

/// However a name is normalized and whatever its case, nobody else can have it.
#[test]
fn no_normal_form_and_no_case_makes_another_name() {
    let mut failures = Vec::new();
    for (script, requested) in all_names() {
        let keys = name(requested).keys();
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
            match parse(&variant).map(|name| name.keys()) {
                Ok(other)
                    if other.folded_first == keys.folded_first
                        || other.folded_last == keys.folded_last => {}
                Ok(_) => failures.push(format!("{script}: {variant:?} is not {requested:?}")),
                Err(error) => failures.push(format!("{script}: {variant:?}: {error}")),
            }
        }
    }
    none(failures);
}

/// What no name has anywhere, and what is told about it.
const NOWHERE: &[(char, CharacterFault, &str)] = &[
    ('\u{202A}', CharacterFault::Direction, "embedding"),
    ('\u{202B}', CharacterFault::Direction, "embedding"),
    ('\u{202C}', CharacterFault::Direction, "end of an embedding"),
    ('\u{202D}', CharacterFault::Direction, "override"),
    ('\u{202E}', CharacterFault::Direction, "override"),
    ('\u{2066}', CharacterFault::Direction, "isolate"),
    ('\u{2067}', CharacterFault::Direction, "isolate"),
    ('\u{2068}', CharacterFault::Direction, "isolate"),
    ('\u{2069}', CharacterFault::Direction, "end of an isolate"),
    ('\u{200E}', CharacterFault::Direction, "mark"),
    ('\u{200F}', CharacterFault::Direction, "mark"),
    ('\u{61C}', CharacterFault::Direction, "mark"),
    ('\u{200B}', CharacterFault::Invisible, "zero width space"),
    ('\u{FEFF}', CharacterFault::Invisible, "byte order mark"),
    ('\u{2060}', CharacterFault::Invisible, "word joiner"),
    ('\u{AD}', CharacterFault::Invisible, "soft hyphen"),
    ('\u{34F}', CharacterFault::Invisible, "grapheme joiner"),
    ('\u{180E}', CharacterFault::Invisible, "vowel separator"),
    ('\u{3164}', CharacterFault::Invisible, "Hangul filler"),
    ('\u{2064}', CharacterFault::Invisible, "invisible plus"),
    ('\u{FE00}', CharacterFault::Invisible, "variation selector"),
    ('\u{E0100}', CharacterFault::Invisible, "variation selector"),
    ('\u{2800}', CharacterFault::Invisible, "blank pattern"),
    ('\u{E0001}', CharacterFault::Invisible, "language tag"),
    ('\0', CharacterFault::Control, "null"),
    ('\t', CharacterFault::Control, "tab"),
    ('\n', CharacterFault::Control, "new line"),
    ('\r', CharacterFault::Control, "carriage return"),
    ('\u{8}', CharacterFault::Control, "backspace"),
    ('\u{1B}', CharacterFault::Control, "escape"),
    ('\u{7F}', CharacterFault::Control, "delete"),
    ('\u{9B}', CharacterFault::Control, "C1 sequence introducer"),
    ('\u{2028}', CharacterFault::Control, "line separator"),
    ('\u{2029}', CharacterFault::Control, "paragraph separator"),
    ('\u{E000}', CharacterFault::Meaningless, "private use"),
    ('\u{FFFD}', CharacterFault::Meaningless, "replacement"),
    ('\u{FFFF}', CharacterFault::Meaningless, "no character"),
];

/// In every script, between any two characters and at both ends.
#[test]
fn what_no_name_has_is_refused_at_every_place() {
    let mut failures = Vec::new();
    for (script, requested) in all_names() {
        let places = requested.char_indices().map(|(place, _)| place);
        for place in places.chain([requested.len()]) {
            for &(character, fault, why) in NOWHERE {
                let (before, after) = requested.split_at(place);
                let attack = format!("{before}{character}{after}");
                let is_right = match parse(&attack) {
                    Err(NameError::ForbiddenCharacter {
                        character: told,
                        fault: told_fault,
                    }) => {
                        // Taken apart, an emoji or a joiner's place is at fault as well.
                        (told, told_fault) == (character, fault)
                            || told_fault == CharacterFault::Misplaced
                    }
                    _ => false,
                };
                if !is_right {
                    failures.push(format!(
                        "{script}: {attack:?} ({why}): {:?}",
                        parse(&attack)
                    ));
                }
            }
        }
    }
    none(failures);
}

/// A joiner, selector or tag that was not in the name stands nowhere but where it means something.
#[test]
fn what_means_something_in_places_only_never_hides_in_a_name() {
    let mut failures = Vec::new();
    for (script, requested) in all_names() {
        let places = requested.char_indices().map(|(place, _)| place);
        for place in places.chain([requested.len()]) {
            for character in [
                '\u{200C}',
                '\u{200D}',
                '\u{FE0E}',
                '\u{FE0F}',
                '\u{E0067}',
                '\u{E007F}',
            ] {
                let (before, after) = requested.split_at(place);
                let attack = format!("{before}{character}{after}");
                let Ok(accepted) = parse(&attack) else {
                    continue;
                };
                // Where it passes nobody can use it to look like the name without it.
                let (a, b) = (accepted.keys(), name(requested).keys());
                if a.folded_first != b.folded_first && a.folded_last != b.folded_last {
                    failures.push(format!("{script}: {attack:?} is another name"));
                }
            }
        }
    }
    none(failures);
}

#[test]
fn a_flood_of_marks_is_refused_in_every_script() {
    let mut failures = Vec::new();
    for (script, requested) in all_names() {
        for mark in [
            '\u{301}', '\u{336}', '\u{489}', '\u{E31}', '\u{64B}', '\u{20DD}',
        ] {
            let attack = format!("{requested}{}", mark.to_string().repeat(5));
            let is_refused = matches!(
                parse(&attack),
                Err(NameError::TooManyMarks
                    | NameError::ForbiddenCharacter {
                        fault: CharacterFault::Misplaced,
                        ..
                    })
            );
            if !is_refused {
                failures.push(format!("{script}: {attack:?}: {:?}", parse(&attack)));
            }
        }
    }
    none(failures);
}

/// Whether a refusal is the right one.
type Expected = fn(&NameError) -> bool;

/// What may end or follow no name, whatever script stands before it.
#[test]
fn nothing_that_takes_a_line_apart_follows_a_name_of_any_script() {
    let endings: &[(&str, Expected)] = &[
        (":", |error| *error == NameError::EndsLikeSource),
        ("：", |error| *error == NameError::EndsLikeSource),
        (">", |error| *error == NameError::EndsLikeSource),
        (" >", |error| *error == NameError::EndsLikeSource),
        (": x", |error| *error == NameError::Separator),
        ("：\u{3000}x", |error| *error == NameError::Separator),
        (" (private)", |error| *error == NameError::LooksPrivate),
        (" (Рrіvаtе)", |error| *error == NameError::LooksPrivate),
        (" has left the chat", |error| {
            matches!(error, NameError::ReadsLikeNotice { .. })
        }),
        (" renamed to", |error| {
            matches!(error, NameError::ReadsLikeNotice { .. })
        }),
    ];
    let mut failures = Vec::new();
    for (script, requested) in all_names() {
        for (ending, expected) in endings {
            let attack = format!("{requested}{ending}");
            match parse(&attack) {
                // A long name plus a notice is too long before it is anything else.
                Err(NameError::TooLong { .. }) if attack.chars().count() > 32 => {}
                Err(error) if expected(&error) => {}
                other => failures.push(format!("{script}: {attack:?}: {other:?}")),
            }
        }
    }
    none(failures);
}

#[test]
fn ones_own_address_is_a_name_beside_every_script() {
    for (script, requested) in all_names() {
        let address = Username::from_address(([127, 0, 0, 1], 57354).into()).keys();
        let keys = name(requested).keys();
        assert_ne!(
            keys.folded_first, address.folded_first,
            "{script}: {requested:?}"
        );
        assert_ne!(
            keys.folded_last, address.folded_last,
            "{script}: {requested:?}"
        );
    }
}
