//! The pure steps of a message's way, one by one: splitting lines, decoding, encoding, names.
//!
//! `cargo bench --bench micro` runs all of them; a word after `--` selects by name. They tell
//! what a change of one step is worth; what it is worth beside the system calls is told by
//! `fanout`.

use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};
use smolchat::chat::username::Username;
use smolchat::limits::DEFAULT_MAX_MESSAGE_BYTES;
use smolchat::protocol::Dialect;
use smolchat::protocol::basic::{encode_message, encode_request};
use smolchat::protocol::decode::request;
use smolchat::protocol::framing::{DecodedLine, LineDecoder};
use smolchat::server::limits::DEFAULT_MAX_LINE_BYTES;
use std::net::{Ipv4Addr, SocketAddr};

/// Lines in one input, about what a busy socket gives in one read.
const LINES: usize = 64;

/// Texts as people write them, of about 100 bytes each, from the plainest on.
const TEXTS: [(&str, &str); 4] = [
    (
        "plain",
        "The quick brown fox jumps over the lazy dog, and then it does it all over again, without any hurry",
    ),
    (
        "accents",
        "Zwölf Boxkämpfer jagen Viktor quer über den großen Sylter Deich, das prüft jede Umlaut-Behandlung",
    ),
    (
        "escapes",
        "He said \"C:\\new\\table\" and left.\tThen:\n\"never mind\", she said.\tAnd that was \"all\" of it.\n",
    ),
    (
        "emoji",
        "👍🏽 so good 🎉🎉🎉 see you at 🕗 in the 🏡 with 👨‍👩‍👧‍👦 and bring 🍕🍕🍕",
    ),
];

/// Names as people choose them; the last ones are those that take work.
const NAMES: [&str; 5] = [
    "alice",
    "Bob the Builder",
    "Müller-Lüdenscheidt",
    "Ἀριστοτέλης",
    "аdmin_0OIl1",
];

fn main() {
    divan::main();
}

fn message_line(text: &str) -> Vec<u8> {
    let mut line = Vec::new();
    encode_request(&mut line, "message", text);
    line
}

fn asker() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, 50_112))
}

fn text(kind: &str) -> &'static str {
    TEXTS
        .iter()
        .find(|(name, _)| *name == kind)
        .map_or("", |(_, text)| *text)
}

fn kinds() -> impl Iterator<Item = &'static str> {
    TEXTS.iter().map(|(kind, _)| *kind)
}

fn count_lines(splitter: &mut LineDecoder, mut input: &[u8]) -> usize {
    let mut lines = 0;
    while let Some(DecodedLine::Complete(line)) = splitter.next_line(&mut input) {
        black_box(line);
        lines += 1;
    }
    lines
}

/// Sixty-four lines in chunks of so many bytes: whole reads first, then torn ones.
#[divan::bench(args = [65_536, 1024, 100, 1])]
fn split_lines(bencher: Bencher<'_, '_>, chunk: usize) {
    let input = message_line(text("plain")).repeat(LINES);
    bencher
        .counter(BytesCount::new(input.len()))
        .counter(ItemsCount::new(LINES))
        .bench_local(|| {
            let mut splitter = LineDecoder::new(DEFAULT_MAX_LINE_BYTES);
            let chunks = black_box(&input).chunks(chunk);
            chunks
                .map(|chunk| count_lines(&mut splitter, chunk))
                .sum::<usize>()
        });
}

/// A `message` line: JSON to text, control characters removed, limits checked.
#[divan::bench(args = kinds())]
fn decode_message(bencher: Bencher<'_, '_>, kind: &str) {
    let line = message_line(text(kind));
    bencher
        .counter(BytesCount::new(line.len()))
        .bench_local(|| {
            request(
                black_box(line.trim_ascii_end()),
                Dialect::Basic,
                DEFAULT_MAX_MESSAGE_BYTES,
            )
        });
}

/// A line that is refused must not cost more than one that is taken.
#[divan::bench]
fn decode_refused(bencher: Bencher<'_, '_>) {
    let line = vec![b'['; 1024];
    bencher
        .counter(BytesCount::new(line.len()))
        .bench_local(|| request(black_box(&line), Dialect::Basic, DEFAULT_MAX_MESSAGE_BYTES));
}

/// A public event as a basic line, appended to a batch that is there already.
#[divan::bench(args = kinds())]
fn encode_event(bencher: Bencher<'_, '_>, kind: &str) {
    let text = text(kind);
    let mut batch = Vec::with_capacity(4096);
    bencher.counter(BytesCount::of_str(text)).bench_local(|| {
        batch.clear();
        encode_message(&mut batch, black_box("alice"), black_box(text));
        black_box(batch.len())
    });
}

/// A requested name: prepared and judged.
#[divan::bench(args = NAMES)]
fn parse_name(name: &str) -> bool {
    Username::parse(black_box(name), asker()).is_ok()
}

/// The keys by which a name is compared: look-alikes and case folded away.
#[divan::bench(args = NAMES)]
fn fold_name(bencher: Bencher<'_, '_>, name: &str) {
    let parsed = Username::parse(name, asker());
    bencher.bench_local(|| black_box(&parsed).as_ref().map(Username::key));
}

/// The name of every newcomer, with its keys.
#[divan::bench]
fn name_of_address() -> usize {
    let name = Username::from_address(black_box(asker()));
    name.key().folded_first.len()
}
