//! A panic ends one connection, and the server goes on.
//!
//! Limits that no option allows cause the panics: the arithmetic of a connection overflows, which
//! a debug build checks.
#![cfg(debug_assertions)]

use crate::support::http::{Http, head_of};
use crate::support::{Chat, PATIENCE, eventually};
use smolchat::server::limits::{Limits, WebLimits};

#[test]
fn panic_in_a_chat_connection_ends_only_that_connection() {
    // The decoder overflows when it stores an unfinished line.
    let (chat, _) = Chat::with_page(Limits {
        max_line_bytes: usize::MAX,
        max_clients: 2,
        ..Limits::default()
    });
    let mut alice = chat.join("alice");
    for round in 1..=3 {
        let mut victim = chat.join("victim");
        victim.send_raw(b"{");
        victim.expect_end();
        alice.skip_to("[Server]", "victim has left the chat");
        let faults = chat.metric("smolchat_connections_ended_total{reason=\"fault\"}");
        assert_eq!(faults, round);
        alice.say_and_hear("the chat goes on");
    }
}

#[test]
fn panic_in_an_http_connection_ends_only_that_connection() {
    // The longest body overflows in every request.
    let (chat, web) = Chat::with_page(Limits {
        max_message_bytes: usize::MAX,
        web: WebLimits {
            connections_per_address: Some(1),
            ..WebLimits::default()
        },
        ..Limits::default()
    });
    let mut alice = chat.join("alice");
    for _ in 0..3 {
        eventually(
            PATIENCE,
            "the place of the connection is free again",
            || {
                let mut http = Http::connect(web);
                http.send(&head_of("GET", "/"));
                // A connection without a place gets a response.
                http.rest().is_empty()
            },
        );
        alice.say_and_hear("the chat goes on");
    }
}
