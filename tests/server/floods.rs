//! Clients that send too much.

use crate::support::extended::Extended;
use crate::support::http::{Http, get};
use crate::support::random::Random;
use crate::support::{
    Chat, LineClient, PATIENCE, RealServer, eventually, request, unpaced, unpaced_with,
};
use serde_json::json;
use smolchat::server::limits::{Limits, MAX_LINES_PER_TURN};
use std::net::IpAddr;
use std::time::{Duration, Instant};

#[test]
fn random_bytes_affect_only_their_sender() {
    let chat = Chat::start();
    let [mut witness] = chat.room(["witness"]);
    let mut random = Random::new(1);
    for _ in 0..50 {
        let bytes: Vec<u8> = (0..4096).map(|_| random.next() as u8).collect();
        let mut culprit = chat.connect("culprit");
        let name = culprit.address();
        witness.expect_notice(&format!("{name} has entered the chat"));
        // The server may have closed it after too many rejections.
        let _ = culprit.try_send(&bytes);
        let _ = culprit.stream.shutdown(std::net::Shutdown::Write);
        let (lines, rest) = culprit.read_until_broken();
        assert!(
            rest.is_empty() && lines.iter().all(|line| line.0 == "[Server]"),
            "{lines:?}"
        );
        witness.expect_notice(&format!("{name} has left the chat"));
    }
    witness.say_and_hear("nothing was said");
}

#[test]
fn rate_limit_counts_rejected_lines() {
    let limits = Limits {
        rate_per_second: 10,
        burst_lines: 5,
        ..Limits::default()
    };
    let chat = Chat::with(limits);
    let mut flooder = chat.connect("flooder");
    let start = Instant::now();
    flooder.send_raw(&b"garbage\n".repeat(17));
    for _ in 0..17 {
        flooder.notice();
    }
    flooder.expect_end();
    let took = start.elapsed();
    assert!(
        took >= Duration::from_millis(600),
        "17 refusals came within {took:?}"
    );
}

#[test]
fn searches_count_as_several_lines() {
    let limits = Limits {
        rate_per_second: 20,
        burst_lines: 20,
        ..Limits::default()
    };
    let (chat, web) = Chat::with_page(limits);
    let start = Instant::now();
    let mut client = Extended::connect(&chat, "client");
    for _ in 0..4 {
        client.send("search", json!({"query": "zebra"}));
    }
    for _ in 0..4 {
        client.expect("search");
    }
    let over_tcp = start.elapsed();
    let mut http = Http::connect(web);
    for _ in 0..4 {
        http.request("/api/messages?q=zebra");
        assert_eq!(http.answer().status, 200);
    }
    let over_http = start.elapsed() - over_tcp;
    for took in [over_tcp, over_http] {
        assert!(took >= Duration::from_millis(500), "4 within {took:?}");
    }
}

/// Sends searches without waiting for their answers, over both protocols, from one address.
#[cfg(target_os = "linux")]
fn flood_with_searches(chat: &Chat) -> (Vec<LineClient>, Vec<Http>) {
    let address = IpAddr::from([127, 0, 0, 2]);
    let clients = (0..30).map(|_| {
        let mut client = chat.connect_from((address, 0).into(), "flooder");
        client.send_raw(b"{\"type\":\"hello\",\"data\":{\"version\":2}}\n");
        let search = b"{\"type\":\"search\",\"data\":{\"query\":\"zebra\"}}\n";
        client.send_raw(&search.repeat(200));
        client
    });
    let clients = clients.collect();
    let requests = (0..30).map(|_| {
        let mut http = Http::connect_from(address, chat.web.expect("a page"));
        let request = b"GET /api/messages?q=zebra HTTP/1.1\r\nHost: localhost\r\n\r\n";
        http.send(&request.repeat(50));
        http
    });
    (clients, requests.collect())
}

#[cfg(target_os = "linux")]
#[test]
fn search_waits_for_few_queries_of_a_flood_from_another_address() {
    let limits = Limits {
        history_messages: 1000,
        ..unpaced()
    };
    let (chat, web) = Chat::with_page(limits);
    let mut own = Extended::connect(&chat, "own");
    let mut talker = chat.join("talker");
    talker.say_many(1000, &"some words ".repeat(10));
    own.say("the last");
    let flood = flood_with_searches(&chat);
    let answered = || chat.metric("smolchat_lines_out_total");
    eventually(PATIENCE, "everyone is here", || {
        chat.metric("smolchat_users") == 2 + flood.0.len() as u64
    });
    let before = answered();
    eventually(PATIENCE, "the flood is under way", || {
        answered() > before + 2
    });
    for round in 0..3 {
        let before = answered();
        own.send("search", json!({"query": "last"}));
        own.skip_to("search");
        let page = get(web, "/api/messages?q=last").json();
        assert_eq!(page["messages"][0]["message"], "the last");
        let between = answered() - before;
        assert!(between <= 12, "{between} answers in round {round}");
    }
    drop(flood);
    eventually(
        PATIENCE,
        "nothing is searched for clients that are gone",
        || chat.metric("smolchat_users") == 2,
    );
}

#[cfg(target_os = "linux")]
#[test]
fn quiet_client_waits_a_few_batches_during_a_flood() {
    const FLOOD: usize = 1000;
    let server = RealServer::start(&unpaced_with(&[]));
    let [mut quiet, mut flooder, mut witness] = server.room(["quiet", "flooder", "witness"]);
    // While the server is halted, both wait in the kernel, the flood first: from then on the
    // order is the server's choice alone.
    server.halt();
    let flood: Vec<u8> = (0..FLOOD)
        .flat_map(|number| request("message", &number.to_string()))
        .collect();
    flooder.send_raw(&flood);
    quiet.say("excuse me");
    server.signal("CONT");
    let before = witness.skip_to("quiet", "excuse me").len();
    assert!(
        before <= 4 * MAX_LINES_PER_TURN,
        "{before} lines of the flood came before the quiet client's"
    );
    let rest = witness.skip_to("flooder", &(FLOOD - 1).to_string()).len();
    assert_eq!(before + rest + 1, FLOOD, "and none of the flood is lost");
}
