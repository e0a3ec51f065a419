//! Any line is a request or a refusal of one line; any line of a server is read without harm.

#![no_main]

use libfuzzer_sys::fuzz_target;
use smolchat::protocol::server_line;
use smolchat::protocol::server_line::ServerLine;
use smolchat::chat::request::Request;
use smolchat::protocol::{Dialect, basic, decode, extended};
use smolchat::chat::query;
use smolchat::chat::query::Query;
use smolchat::chat::sanitize;

/// Longest message here, in bytes: short, so that it is reached.
const MOST: usize = 64;

fuzz_target!(|line: &[u8]| {
    for dialect in [Dialect::Basic, Dialect::Extended] {
        check_line(line, dialect);
    }
    if let Some(ServerLine::Message(said)) = server_line::decode(line) {
        check_wire(&said.source, &said.message);
    }
});

fn check_said(said: &str) {
    assert!(said.len() <= MOST && !sanitize::is_blank(said));
    assert_eq!(sanitize::clean_message(said), said, "not clean");
    check_wire("somebody", said);
}

fn check_line(line: &[u8], dialect: Dialect) {
    match decode::request(line, dialect, MOST) {
        Ok(Request::Say(say)) => check_said(&say.text),
        Ok(Request::Private(private)) => {
            check_said(&private.text);
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
            let words: Vec<String> = search.query.phrases.concat();
            // What is folded stays as it is.
            assert_eq!(query::words(&words.join(" ")), words);
        }
        Ok(Request::History | Request::Users | Request::Hello(_) | Request::Quit) => {}
        Err(refused) => {
            let mut line = Vec::new();
            extended::encode_error(&mut line, &refused);
            check_extended(&line);
            let sentence = refused.error.to_string();
            check_sentence(&sentence);
        }
    }
}

/// One line of JSON.
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

/// What is written is one line, and is read again as it was.
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
