//! Names that are accepted and names that imitate the server, an address, a user or a notice.
//!
//! Accepted names end in unique letters and digits, because the server may be one that others use.

use crate::bench::{SERVER, Trial, unique};

fn all_are_refused<N: AsRef<str>>(names: impl IntoIterator<Item = N>) {
    let trial = Trial::new();
    let mut pair = trial.pair();
    for name in names {
        pair.name_refused(name.as_ref());
    }
}

/// `abc` as fullwidth letters, and the like.
fn fullwidth(text: &str) -> String {
    let wide = |c: char| match c {
        '!'..='~' => char::from_u32(u32::from(c) + 0xfee0).unwrap_or(c),
        _ => c,
    };
    text.chars().map(wide).collect()
}

#[test]
fn a_name_that_is_taken_whatever_its_case_and_however_it_is_spelled() {
    let trial = Trial::new();
    let mut pair = trial.pair();
    let name = pair.witness.name.clone();
    for taken in [
        name.clone(),
        name.to_uppercase(),
        name.replace("witness", "Witness"),
        format!(" {name} "),
        format!("\u{3000}{name}"),
        fullwidth(&name),
        // Cyrillic letters that look like these.
        name.replace("witness", "wіtnеѕѕ"),
        name.replace("witness", "WITNEЅЅ"),
        format!("{name}!"),
        format!("{name} …"),
        name.replace("witness", "𝐰𝐢𝐭𝐧𝐞𝐬𝐬"),
    ] {
        pair.name_refused(&taken);
    }
    // Accents are no look-alike: this is another name.
    let accented = name.replace("witness", "wïtness");
    pair.name_accepted(&accented, &accented);
    // Decomposed it is the same.
    let decomposed = accented.replace('ï', "i\u{308}");
    pair.witness.request("set-name", &decomposed);
    pair.witness.refusal();
    pair.goes_on();
}

#[test]
fn a_name_that_reads_as_the_servers() {
    all_are_refused([
        "[Server]",
        "[server]",
        "[SERVER]",
        " [Server] ",
        "［Server］",
        "[Ѕerver]",
        "[Sеrvеr]",
        "[Ser\u{200b}ver]",
        "[Ser\u{ad}ver]",
        "[𝐒𝐞𝐫𝐯𝐞𝐫]",
    ]);
}

#[test]
fn a_name_that_reads_as_an_address() {
    let trial = Trial::new();
    let mut pair = trial.pair();
    // Of somebody who is here, and who has another name by now.
    let address = pair.witness.address().to_string();
    let mut names = vec![
        address.clone(),
        fullwidth(&address),
        address.replace('1', "l").replace('0', "O"),
        address.replace('1', "I").replace('0', "o"),
        format!(" {address} "),
    ];
    let others = [
        "127.0.0.1:1",
        "10.0.0.1:65535",
        "192.168.l.I:8O",
        "l27.o.O.1:5555",
        "１２７.0.0.1:5555",
        "127．0．0．1：5555",
        "[::1]:5555",
        "[fe80::1]:1",
        "[2001:db8::a:1]:443",
        "[::ffff:127.0.0.1]:80",
        "[::l]:5555",
    ];
    names.extend(others.map(str::to_owned));
    for name in names {
        pair.name_refused(&name);
    }
}

#[test]
fn user_can_return_to_its_address() {
    let trial = Trial::new();
    let [mut bob] = trial.room(["bob"]);
    let mut guest = trial.connect("guest");
    let address = guest.name.clone();
    bob.notice(&format!("{address} has entered the chat"));
    let name = trial.name("guest");
    guest.rename(&name);
    bob.notice(&format!("{address} renamed to {name}"));
    guest.rename(&address);
    bob.notice(&format!("{name} renamed to {address}"));
}

#[test]
fn user_can_change_the_case_of_its_name() {
    let trial = Trial::new();
    let mut pair = trial.pair();
    let upper = pair.culprit.name.replace("culprit", "CULPRIT");
    pair.name_accepted(&upper, &upper);
}

#[test]
fn an_empty_name() {
    all_are_refused(["", " ", "   ", "\u{3000}", "\u{a0}"]);
}

#[test]
fn a_name_over_32_characters_or_512_bytes() {
    let trial = Trial::new();
    let mut pair = trial.pair();
    let unique = unique();
    let longest = format!("{}{unique}", "n".repeat(32 - unique.len()));
    pair.name_refused(&format!("n{longest}"));
    pair.name_accepted(&longest, &longest);
    pair.name_refused(&"n".repeat(5000));
    // One character each, of 25 bytes.
    let family = "👩‍👩‍👧‍👦";
    let many = format!("{}{unique}", family.repeat(18));
    assert!(many.len() <= 512 && family.repeat(21).len() > 512);
    pair.name_accepted(&many, &many);
    pair.name_refused(&family.repeat(21));
    // Of the same 32 characters one more byte is one too many.
    let padded = |rest: &str| {
        let padding = 12 - rest.chars().count() - unique.len();
        let name = [&family.repeat(20), &*"n".repeat(padding), rest, &unique].concat();
        (name.len(), name)
    };
    let ((512, most), (513, more)) = (padded("e"), padded("é")) else {
        panic!("{unique:?} is too long to be in a name of 512 bytes");
    };
    pair.name_refused(&more);
    pair.name_accepted(&most, &most);
    // Spaces that are cut off do not count.
    let trimmed = longest.replacen('n', "m", 1);
    pair.name_accepted(&format!("   {trimmed}   "), &trimmed);
}

#[test]
fn a_name_with_characters_that_cannot_be_seen_or_change_the_direction() {
    let characters = [
        '\u{0}',
        '\u{7}',
        '\t',
        '\n',
        '\r',
        '\u{1b}',
        '\u{7f}',
        '\u{85}',
        '\u{9b}',
        '\u{200b}',
        '\u{200c}',
        '\u{200d}',
        '\u{200e}',
        '\u{200f}',
        '\u{202a}',
        '\u{202e}',
        '\u{2028}',
        '\u{2066}',
        '\u{2069}',
        '\u{2060}',
        '\u{feff}',
        '\u{61c}',
        '\u{e0041}',
    ];
    all_are_refused(characters.map(|character| format!("a{character}b")));
    // Also where trimming could take them away.
    all_are_refused(["\nab", "ab\n", "\u{200b}ab", "ab\u{202e}", "\u{feff}ab"]);
}

#[test]
fn a_name_with_over_four_marks_on_one_base() {
    let trial = Trial::new();
    let mut pair = trial.pair();
    let unique = unique();
    // Marks that do not compose with their base.
    let four = format!("x\u{300}\u{301}\u{302}\u{303}{unique}");
    pair.name_accepted(&four, &four);
    pair.name_refused(&format!("x\u{300}\u{301}\u{302}\u{303}\u{304}{unique}"));
    pair.name_refused(&format!("x{}{unique}", "\u{336}".repeat(100)));
}

#[test]
fn a_name_that_could_be_taken_for_the_form_of_a_line() {
    let trial = Trial::new();
    let mut pair = trial.pair();
    let unique = unique();
    for name in ["a: b", "[Server]: x", ": ", ":", ">", "a:  b", "Ada, Bob"] {
        pair.name_refused(name);
    }
    for end in [":", ">", " (private)"] {
        pair.name_refused(&format!("a{unique}{end}"));
    }
    for name in [
        format!("a:b{unique}"),
        format!("<a> {unique}"),
        format!("a (private) {unique}"),
        format!("a,b {unique}"),
        format!("at 12:00 {unique}"),
    ] {
        pair.name_accepted(&name, &name);
    }
}

#[test]
fn a_name_that_begins_like_a_line() {
    all_are_refused([
        "[Server] Notice",
        "[bot]",
        "(private) Ada",
        "{Ada",
        "【Ada】",
        "［Ada］",
        "* Ada",
        "＊Ada",
        "∗ Ada",
        "12:00 Ada",
        "7:05",
        "１２：００ Ada",
        "١٢:٣٠",
    ]);
}

#[test]
fn a_name_that_reads_as_a_role() {
    all_are_refused([
        "Server",
        "SYSTEM",
        "Operator",
        "Moderator.",
        "admin",
        "root!",
        "[5erver]",
        "[Server",
        "(Server)",
        "[Servеr",
        "Adm1n",
        "r00t",
        "Ada ✓",
        "✔ Ada",
        "Ada ✅",
        "☑\u{fe0f} Ada",
    ]);
}

#[test]
fn a_word_that_mixes_scripts() {
    all_are_refused(["Vlаdimir", "Αda", "pаypal", "山дa", "Ada한а"]);
}

#[test]
fn a_name_that_reads_like_a_notice() {
    let trial = Trial::new();
    let mut pair = trial.pair();
    for name in [
        "eve has entered the chat",
        "eve has left the chat",
        "eve renamed to bob",
        "has left the chat",
        "Eve HAS LEFT the chat",
        "eve has  left the chat",
    ] {
        // Such a rename would be told in a line that reads as about somebody else: whatever it
        // is, it may not be public.
        pair.culprit.request("set-name", name);
        let line = pair.culprit.hear();
        let renamed = format!("{} renamed to ", pair.culprit.name);
        assert!(
            line.source == SERVER && !line.message.starts_with(&renamed),
            "{name:?} was accepted: {line:?}"
        );
        pair.goes_on();
    }
}

#[test]
fn good_names_of_every_script_are_taken_and_announced_as_they_are() {
    let trial = Trial::new();
    let mut pair = trial.pair();
    for word in [
        "Zoë",
        "Владимир",
        "日本太郎",
        "שרה",
        "मीरा",
        "علی",
        "김철수",
        "o'Neil-Smith_2",
        "Server",
        "山田Taro",
        "김Kim",
        "Владимир VI",
        "John von Neumann",
        // Joiners where RFC 5892 permits them.
        "می\u{200c}خواهم",
        "क्\u{200d}ष",
        // Whole emoji sequences.
        "👩‍🚀 Eva",
        "👍🏽",
        "🇨🇿",
        "🏴\u{e0067}\u{e0062}\u{e0073}\u{e0063}\u{e0074}\u{e007f}",
        "❤\u{fe0f}",
    ] {
        let name = format!("{word} {}", unique());
        pair.name_accepted(&name, &name);
    }
}

#[test]
fn a_name_is_announced_as_it_was_prepared() {
    let trial = Trial::new();
    let mut pair = trial.pair();
    for (given, announced) in [
        ("  trimmed  ", "trimmed"),
        ("inner    space", "inner space"),
        ("wide\u{3000}space", "wide space"),
        ("Zoe\u{308}", "Zoë"),
        ("Ｗｉｄｅ", "Wide"),
        ("ﬁnal", "final"),
    ] {
        let unique = unique();
        let spaced = format!("{given}  {unique} ");
        pair.name_accepted(&spaced, &format!("{announced} {unique}"));
    }
}
