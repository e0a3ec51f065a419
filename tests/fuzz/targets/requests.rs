//! Any line is a request or an error of one line; the client decodes any line of a server.

#![no_main]

use libfuzzer_sys::fuzz_target;
use smolchat::chat::query::{self, Query};
use smolchat::chat::request::Request;
use smolchat::chat::sanitize;
use smolchat::protocol::server_line::{self, ServerLine};
use smolchat::protocol::{Dialect, basic, decode, extended};

/// Longest message, in bytes; short, so that inputs exceed it.
const MAX_MESSAGE_BYTES: usize = 64;

fuzz_target!(|line: &[u8]| {
    for dialect in [Dialect::Basic, Dialect::Extended] {
        check_line(line, dialect);
    }
    if let Some(ServerLine::Message(message)) = server_line::decode(line) {
        check_wire(&message.source, &message.message);
    }
});

fn check_message(text: &str) {
    assert!(text.len() <= MAX_MESSAGE_BYTES && !sanitize::is_blank(text));
    assert_eq!(sanitize::clean_message(text), text, "not clean");
    check_wire("somebody", text);
}

fn check_line(line: &[u8], dialect: Dialect) {
    match decode::request(line, dialect, MAX_MESSAGE_BYTES) {
        Ok(Request::SendMessage(say)) => check_message(&say.text),
        Ok(Request::Private(private)) => {
            check_message(&private.text);
            check_wire(&private.target, &private.target);
        }
        Ok(Request::SetName(name)) => check_wire(&name, &name),
        Ok(Request::Ping(data)) => {
            check_wire("[Server]", &basic::pong(&data));
            let mut line = Vec::new();
            extended::encode_pong(&mut line, &data);
            check_extended(&line);
        }
        Ok(Request::Page(page)) => assert!((1..=200).contains(&page.limit)),
        Ok(Request::Search(search)) => {
            assert!((1..=200).contains(&search.page.limit));
            assert_ne!(search.query, Query::default());
            let phrases = search.query.phrases.iter();
            let words: Vec<String> = phrases.flat_map(|phrase| phrase.words.clone()).collect();
            // Folding is idempotent.
            assert_eq!(query::words(&words.join(" ")), words);
        }
        Ok(Request::History | Request::Users | Request::Hello(_) | Request::Quit) => {}
        Err(rejected) => {
            let mut line = Vec::new();
            extended::encode_error(&mut line, &rejected);
            check_extended(&line);
            check_sentence(&rejected.error.to_string());
        }
    }
}

/// Checks that this is one line.
fn check_extended(line: &[u8]) {
    let end = line.iter().position(|&byte| byte == b'\n');
    assert_eq!(end, Some(line.len() - 1));
    assert!(std::str::from_utf8(line).is_ok());
}

fn check_sentence(sentence: &str) {
    assert!(!sentence.is_empty() && sentence.len() < 1000);
    assert_eq!(
        sanitize::for_terminal(sentence),
        sentence,
        "not safe on a terminal"
    );
    check_wire("[Server]", sentence);
}

/// Checks that an encoded message is one line, which decodes to the same message.
fn check_wire(source: &str, message: &str) {
    let mut wire = Vec::new();
    basic::encode_message(&mut wire, source, message);
    assert_eq!(
        wire.iter().position(|&byte| byte == b'\n'),
        Some(wire.len() - 1)
    );
    let Some(ServerLine::Message(read)) = server_line::decode(&wire) else {
        panic!("no message");
    };
    assert_eq!(read.source, source);
    assert_eq!(read.message, sanitize::one_line(message));
}
