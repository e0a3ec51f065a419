//! Limits of HTTP connections: hosts, timeouts, and numbers per address.

use crate::support::http::{Answer, Http, get, head_of};
use crate::support::{Chat, PATIENCE, RealServer, eventually, run_to_end, unpaced};
use smolchat::server::host_name::HostName;
use smolchat::server::limits;
use smolchat::server::limits::{Limits, WebLimits};
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr};
use std::thread;
use std::time::{Duration, Instant};

/// Far longer than a test runs.
const LONG: Duration = Duration::from_secs(3600);

/// Short for a test, long for what is done in between.
const SHORT: Duration = Duration::from_millis(800);

/// A chat whose page has these bounds.
pub(crate) fn start(web: WebLimits) -> (Chat, SocketAddr) {
    Chat::with_page(Limits {
        web,
        ..Limits::default()
    })
}

/// Returns the last response of a connection that sends this.
#[track_caller]
fn ask_on(mut http: Http, request: &[u8]) -> Answer {
    // A rejected connection may be closed before it has sent its request.
    if let Err(error) = http.try_send(request) {
        let expected = [ErrorKind::ConnectionReset, ErrorKind::BrokenPipe];
        assert!(expected.contains(&error.kind()), "{error}");
    }
    http.last_answer()
}

#[track_caller]
pub(crate) fn ask(web: SocketAddr, request: &str) -> Answer {
    ask_on(Http::connect(web), request.as_bytes())
}

/// The answer is one plain sentence, and the connection has ended.
#[track_caller]
pub(crate) fn is_a_refusal(answer: &Answer, status: u16, words: &str) {
    assert_eq!(answer.status, status, "{answer:?}");
    let reason = &answer.status_line;
    assert!(reason.len() > "HTTP/1.1 503 ".len(), "{reason:?}");
    assert!(answer.text().contains(words), "{answer:?}");
    // A sentence for people, or a problem for programs.
    assert_eq!(answer.text().lines().count(), 1, "{answer:?}");
    match answer.header("content-type").split(';').next() {
        Some("text/plain") => assert!(answer.text().ends_with('\n'), "{answer:?}"),
        Some("text/html") => assert!(answer.text().contains("<a href=\"/\">"), "{answer:?}"),
        Some("application/problem+json") => {
            let problem: serde_json::Value = serde_json::from_slice(&answer.body).expect("JSON");
            assert_eq!(problem["status"], status, "{answer:?}");
        }
        other => panic!("{other:?} in {answer:?}"),
    }
    assert_eq!(answer.header("x-content-type-options"), "nosniff");
    assert_eq!(answer.header("cache-control"), "no-store");
    let length = answer.header("content-length").parse();
    assert_eq!(length, Ok(answer.body.len()), "{answer:?}");
    if status == 503 {
        assert!(answer.header("retry-after").parse::<u32>().is_ok());
    }
}

#[test]
fn unfinished_head_is_answered_at_its_timeout() {
    let (_chat, web) = start(WebLimits {
        head_timeout: SHORT,
        idle_timeout: LONG,
        ..WebLimits::default()
    });
    for begun in ["G", "GET / HTTP/1.1\r\nHost: localhost\r\n", "\r\n"] {
        is_a_refusal(&ask(web, begun), 408, "too long to arrive");
    }
    // That of a later request just the same.
    let mut stream = Http::connect(web);
    let requests = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\nGET /";
    stream.send(requests.as_bytes());
    assert_eq!(stream.answer().status, 200);
    is_a_refusal(&stream.last_answer(), 408, "too long to arrive");
}

#[test]
fn connection_without_a_request_is_closed_silently() {
    let (_chat, web) = start(WebLimits {
        head_timeout: LONG,
        idle_timeout: SHORT,
        ..WebLimits::default()
    });
    let mut used = Http::connect(web);
    used.request("/healthz");
    assert_eq!(used.answer().status, 200);
    let mut fresh = Http::connect(web);
    assert_eq!((used.rest(), fresh.rest()), Default::default());
}

/// Has a reader who takes nothing, and waits until its response is dropped. A live stream with
/// nothing to tell meanwhile goes on.
fn check_that_a_stuck_reader_is_dropped(web: WebLimits) {
    let (chat, web) = Chat::with_page(Limits {
        history_messages: 300,
        web: WebLimits {
            connections_per_address: Some(2),
            ..web
        },
        ..unpaced()
    });
    let mut alice = chat.join("alice");
    // On the page each takes five times as much: more than sockets hold.
    let text = "&".repeat(4000);
    for _ in 0..250 {
        alice.say_and_hear(&text);
    }
    let mut live = Http::connect(web);
    live.request("/api/events");
    // It reads without pause: one that left its large snapshot lying would be stuck as well.
    let following = thread::spawn(move || live.skip_to("still here?"));
    let mut stuck = Http::connect_narrow(web);
    stuck.request("/");
    assert_eq!(stuck.head().status, 200);
    assert_eq!(get(web, "/healthz").status, 503, "its place is taken");
    eventually(PATIENCE, "the place of the one who is stuck", || {
        get(web, "/healthz").status == 200
    });
    alice.say_and_hear("still here?");
    following.join().expect("the live stream goes on");
    // Only what its sockets held still comes.
    assert!(!stuck.rest().ends_with(b"</html>\n"), "the whole page came");
}

#[test]
fn a_response_without_progress_is_dropped() {
    check_that_a_stuck_reader_is_dropped(WebLimits {
        write_stall_timeout: SHORT,
        response_deadline: LONG,
        ..WebLimits::default()
    });
}

#[test]
fn response_over_its_time_limit_is_dropped() {
    check_that_a_stuck_reader_is_dropped(WebLimits {
        write_stall_timeout: LONG,
        response_deadline: Duration::from_millis(300),
        ..WebLimits::default()
    });
}

#[test]
fn a_stream_has_no_deadline_however_its_address_is_written() {
    let deadline = Duration::from_millis(300);
    let (chat, web) = Chat::with_page(Limits {
        web: WebLimits {
            response_deadline: deadline,
            ..WebLimits::default()
        },
        ..unpaced()
    });
    let mut alice = chat.join("alice");
    let spellings = ["/api/events", "/x/%2e%2e/api\\.\\events?since=1"];
    let mut streams = spellings.map(|spelling| {
        let mut stream = Http::connect(web);
        stream.request(spelling);
        stream.skip_to("event: snapshot");
        stream
    });
    let start = Instant::now();
    let mut number = 0;
    while start.elapsed() < 3 * deadline {
        number += 1;
        alice.say_and_hear(&number.to_string());
        for stream in &mut streams {
            stream.skip_to(&format!("\"{number}\""));
        }
    }
}

#[test]
fn client_that_sends_after_the_answer_is_closed() {
    let (chat, web) = start(WebLimits::default());
    let mut alice = chat.join("alice");
    let mut stream = Http::connect(web);
    let begin = "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999\r\n\r\n";
    stream.send(begin.as_bytes());
    let flooding = thread::spawn(move || {
        let chunk = vec![b'x'; 64 * 1024];
        let mut taken = 0;
        let end = Instant::now() + PATIENCE;
        // For as long as the server takes it.
        while Instant::now() < end {
            match stream.try_send(&chunk) {
                Ok(()) => taken += chunk.len(),
                Err(_) => return taken,
            }
        }
        panic!("the server takes it without end")
    });
    for number in 0..100 {
        alice.say_and_hear(&number.to_string());
    }
    let taken = flooding.join().expect("it is cut off");
    // What sockets hold, on both sides, comes to what is read.
    let most = limits::LINGER_MAX_BYTES + 32 * 1024 * 1024;
    assert!(taken < most, "{taken} bytes were taken");
    alice.say_and_hear("and on");
}

const HERE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 1);

/// Another address of this machine, at least where loopback has more than one.
#[cfg(target_os = "linux")]
const THERE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

#[cfg(target_os = "linux")]
#[test]
fn connections_from_one_address_can_be_bounded() {
    let (_chat, web) = start(WebLimits {
        connections_per_address: Some(2),
        ..WebLimits::default()
    });
    let open = |source: Ipv4Addr| {
        let mut stream = Http::connect_from(source.into(), web);
        stream.request("/healthz");
        assert_eq!(stream.answer().status, 200);
        stream
    };
    let (one, _two) = (open(HERE), open(HERE));
    let refused = ask_on(Http::connect_from(HERE.into(), web), &head_of("GET", "/"));
    is_a_refusal(&refused, 503, "from your address");
    let _elsewhere = (open(THERE), open(THERE));
    let refused = ask_on(Http::connect_from(THERE.into(), web), &head_of("GET", "/"));
    is_a_refusal(&refused, 503, "from your address");
    drop(one);
    eventually(PATIENCE, "the place of the one who went", || {
        ask_on(Http::connect_from(HERE.into(), web), &head_of("GET", "/")).status == 200
    });
}

#[cfg(target_os = "linux")]
#[test]
fn live_streams_to_one_address_can_be_bounded() {
    let (chat, web) = start(WebLimits {
        streams_per_address: Some(1),
        ..WebLimits::default()
    });
    let mut alice = chat.join("alice");
    let open = |source: Ipv4Addr| {
        let mut stream = Http::connect_from(source.into(), web);
        stream.request("/api/events");
        stream.skip_to("event: snapshot");
        stream
    };
    let here = open(HERE);
    let mut second = Http::connect_from(HERE.into(), web);
    second.request("/api/events");
    is_a_refusal(&second.answer(), 503, "from your address");
    let mut there = open(THERE);
    // The page itself is no stream.
    assert_eq!(get(web, "/").status, 200);
    drop(here);
    // That it is gone is noticed by what cannot be written to it.
    let mut number = 0;
    eventually(PATIENCE, "room for another stream", || {
        number += 1;
        alice.say_and_hear(&number.to_string());
        let mut stream = Http::connect_from(HERE.into(), web);
        stream.request("/api/events");
        stream.head().status == 200
    });
    there.skip_to(&format!("\"{number}\""));
}

#[test]
fn rejected_connection_gets_the_reason_at_any_time() {
    let (_chat, web) = start(WebLimits {
        connections_per_address: Some(1),
        ..WebLimits::default()
    });
    let mut first = Http::connect_from(HERE.into(), web);
    first.request("/healthz");
    assert_eq!(first.answer().status, 200);
    // It is told before it has asked, and what it asks then is still taken.
    let mut second = Http::connect_from(HERE.into(), web);
    is_a_refusal(&second.answer(), 503, "from your address");
    second.request("/");
    second.finish_sending();
    second.expect_end();
}

#[test]
fn clients_behind_a_trusted_proxy_are_counted_one_by_one() {
    let limit = [
        "--web-streams-per-address",
        "1",
        "--web-connections-per-address",
        "2",
    ];
    let trusting = RealServer::start(&[&limit[..], &["--trusted-proxy", "127.0.0.0/8"]].concat());
    let web = trusting.web.expect("a page");
    let request = |client: &str| {
        format!(
            "GET /api/events HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: {client}\r\nConnection: close\r\n\r\n"
        )
    };
    // What the client itself sent does not make it another one.
    let own = "192.0.2.2\r\nForwarded: for=192.0.2.3";
    let _streams = ["192.0.2.1", "192.0.2.1, 192.0.2.4", own].map(|client| {
        let mut stream = Http::connect(web);
        stream.send(request(client).as_bytes());
        stream.skip_to("event: snapshot");
        stream
    });
    assert_eq!(ask(web, &request("192.0.2.2")).status, 503);
    assert_eq!(
        ask(web, &request("192.0.2.1\r\nForwarded: for=192.0.2.5")).status,
        503
    );
    let told = || trusting.stderr.text().matches("--trusted-proxy").count();
    assert_eq!(told(), 0);
    // Without trust, the field is a claim of a stranger.
    let distrusting = RealServer::start(&limit);
    let web = distrusting.web.expect("a page");
    let mut stream = Http::connect(web);
    stream.send(request("192.0.2.1").as_bytes());
    stream.skip_to("event: snapshot");
    assert_eq!(ask(web, &request("192.0.2.2")).status, 503);
    eventually(PATIENCE, "the operator is told once", || {
        distrusting.stderr.text().matches("--trusted-proxy").count() == 1
    });
}

fn for_host(host: &str) -> String {
    format!("GET /api/users HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")
}

#[test]
fn page_accepts_names_of_the_machine_and_of_options() {
    let server = RealServer::start(&["--web-name", "Chat.example.org", "--web-name=wiki.lan."]);
    let web = server.web.expect("a page");
    for good in ["chat.example.org", "wiki.lan:1"] {
        assert_eq!(ask(web, &for_host(good)).status, 200, "{good}");
    }
    is_a_refusal(&ask(web, &for_host("evil.example")), 421, "--web-name");
    let machine = gethostname::gethostname();
    let machine = machine.to_string_lossy();
    if HostName::parse(&machine).is_err() {
        crate::support::skip("this machine has no name that could be asked for");
        return;
    }
    let short = machine.split('.').next().unwrap_or_default();
    for good in [
        machine.to_string(),
        format!("{}:8080", machine.to_uppercase()),
        format!("{short}.local"),
    ] {
        assert_eq!(ask(web, &for_host(&good)).status, 200, "{good}");
    }
}

#[test]
fn invalid_web_name_is_reported() {
    for wrong in ["http://chat.example.org/", "chat:8080", "*.example.org", ""] {
        let finished = run_to_end(RealServer::bare_command(&["--web-name", wrong]));
        assert_eq!(finished.code, Some(2), "{finished:?}");
        let start = format!("smolchat-server: --web-name cannot be \"{wrong}\": it is a host name");
        assert!(finished.stderr.starts_with(&start), "{finished:?}");
        assert_eq!(finished.stderr.lines().count(), 1, "{finished:?}");
    }
}

#[test]
fn healthz_is_ready_only_while_the_chat_runs() {
    let (mut chat, web) = Chat::with_page(Limits {
        max_lag_bytes: 64 * 1024 * 1024,
        ..unpaced()
    });
    let mut talker = chat.join("talker");
    // One who does not read: the server waits for it before it ends.
    let _stuck = chat.connect_narrow("stuck");
    let text = "x".repeat(4000);
    talker.say_many(2000, &text);
    let ready = get(web, "/healthz");
    assert_eq!((ready.status, ready.text().as_str()), (200, "ok\n"));
    // An open connection is told as well as a new one.
    let mut open = Http::connect(web);
    open.request("/healthz");
    assert_eq!(open.answer().status, 200);
    chat.begin_stop();
    talker.skip_to("[Server]", "The server is shutting down");
    is_a_refusal(&get(web, "/healthz"), 503, "The server is stopping");
    is_a_refusal(&get(web, "/api/events"), 503, "The server is stopping");
    open.request("/healthz");
    is_a_refusal(&open.answer(), 503, "The server is stopping");
    chat.wait_for_end();
}
