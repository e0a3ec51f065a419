//! Any line is a request or a refusal of one line; any line of a server is read without harm.

#![no_main]

use libfuzzer_sys::fuzz_target;
use smolchat::protocol::{Request, basic};
use smolchat::text;

/// Longest message here, in bytes: short, so that it is reached.
const MOST: usize = 64;

fuzz_target!(|line: &[u8]| {
    match basic::decode_request(line, MOST) {
        Ok(Request::Say(said)) => {
            assert!(said.len() <= MOST && !text::is_blank(&said));
            assert_eq!(text::clean_message(&said), &*said, "not clean");
            check_wire("somebody", &said);
        }
        Ok(Request::SetName(name)) => check_wire(&name, &name),
        Ok(Request::History | Request::Users) => {}
        Err(refusal) => {
            let sentence = refusal.to_string();
            assert!(!sentence.is_empty() && sentence.len() < 1000);
            assert_eq!(
                text::for_terminal(&sentence),
                sentence,
                "not safe on a terminal"
            );
            check_wire("[Server]", &sentence);
        }
    }
    if let Some(message) = basic::decode_server_line(line) {
        check_wire(&message.source, &message.message);
    }
});

/// What is written is one line, and is read again as it was.
fn check_wire(source: &str, message: &str) {
    let mut wire = Vec::new();
    basic::encode_message(&mut wire, source, message);
    assert_eq!(
        wire.iter().position(|&byte| byte == b'\n'),
        Some(wire.len() - 1)
    );
    let read = basic::decode_server_line(&wire).expect("a message");
    assert_eq!(read.source, source);
    assert_eq!(read.message, text::one_line(message));
}
