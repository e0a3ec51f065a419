//! Split, decode and encode lines; check and fold names.
//!
//! `cargo bench --bench micro` runs all benchmarks; a word after `--` selects by name.

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

/// Lines that one read of a busy socket returns.
const LINES: usize = 64;

const TEXTS: [&str; 2] = ["plain", "escapes"];

/// Names from common to costly.
const NAMES: [&str; 5] = [
    "alice",
    "Bob the Builder",
    "Müller-Lüdenscheidt",
    "Ἀριστοτέλης",
    "аdmin_0OIl1",
];

const ADDRESS: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 50_112);

fn main() {
    divan::main();
}

/// Returns a text of about 100 bytes.
fn text(kind: &str) -> &'static str {
    match kind {
        "escapes" => {
            "He said \"C:\\new\\table\" and left.\tThen:\n\"never mind\", she said.\tAnd that was \"all\" of it.\n"
        }
        _ => {
            "The quick brown fox jumps over the lazy dog, and then it does it all over again, without any hurry"
        }
    }
}

fn message_line(kind: &str) -> Vec<u8> {
    let mut line = Vec::new();
    encode_request(&mut line, "message", text(kind));
    line
}

/// Splits the input in chunks of this many bytes.
#[divan::bench(args = [65_536, 1024, 100, 1])]
fn split_lines(bencher: Bencher<'_, '_>, chunk: usize) {
    let input = message_line("plain").repeat(LINES);
    let bencher = bencher.counter(BytesCount::new(input.len()));
    bencher.counter(ItemsCount::new(LINES)).bench_local(|| {
        let mut decoder = LineDecoder::new(DEFAULT_MAX_LINE_BYTES);
        let mut lines = 0;
        for mut chunk in black_box(&input).chunks(chunk) {
            while let Some(DecodedLine::Complete(line)) = decoder.next_line(&mut chunk) {
                black_box(line);
                lines += 1;
            }
        }
        lines
    });
}

#[divan::bench(args = TEXTS)]
fn decode_line(bencher: Bencher<'_, '_>, kind: &str) {
    let line = message_line(kind);
    let bencher = bencher.counter(BytesCount::new(line.len()));
    bencher.bench_local(|| {
        request(
            black_box(line.trim_ascii_end()),
            Dialect::Basic,
            DEFAULT_MAX_MESSAGE_BYTES,
        )
    });
}

#[divan::bench(args = TEXTS)]
fn encode_line(bencher: Bencher<'_, '_>, kind: &str) {
    let text = text(kind);
    let mut batch = Vec::with_capacity(4096);
    bencher.counter(BytesCount::of_str(text)).bench_local(|| {
        batch.clear();
        encode_message(&mut batch, black_box("alice"), black_box(text));
        black_box(batch.len())
    });
}

#[divan::bench(args = NAMES)]
fn check_name(name: &str) -> bool {
    Username::parse(black_box(name), SocketAddr::from(ADDRESS)).is_ok()
}

#[divan::bench(args = NAMES)]
fn fold_name(bencher: Bencher<'_, '_>, name: &str) {
    let parsed = Username::parse(name, SocketAddr::from(ADDRESS));
    bencher.bench_local(|| black_box(&parsed).as_ref().map(Username::key));
}
