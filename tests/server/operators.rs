//! What the operator sees: why connections end, in the log and in the metrics, and a log that
//! cannot be written.
//!
//! No test depends on the words of a log line, only on its fields.

use crate::support::http::{Http, get};
use crate::support::{
    LineClient, PATIENCE, Program, RealServer, Transcript, eventually, run_to_end, send_signal,
    skip,
};
use serde_json::Value;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Command, Stdio};

/// Sends invalid lines until the server closes the connection.
fn be_refused(mut client: LineClient) {
    for _ in 0..17 {
        client.send_raw(b"nonsense\n");
    }
    let last = client.read_to_end().pop().expect("a farewell");
    assert!(last.1.ends_with("the connection is closed"), "{}", last.1);
}

#[test]
fn every_disconnect_is_logged_and_counted_once() {
    let server = RealServer::start(&["--log", "debug", "--max-clients", "3"]);
    let witness = server.join("witness");
    drop(server.join("quitter"));
    server.stderr.wait_for("quitter");
    server.join("resetter").reset();
    server.stderr.wait_for("resetter");
    be_refused(server.join("refused"));
    let crowd = [server.connect("third"), server.connect("fourth")];
    let mut fifth = server.connect_raw("fifth");
    fifth.expect_notice("The chat is full (3 users); try again later");
    fifth.expect_end();
    drop((witness, crowd));
    let fields = [
        ("quitter", "closed"),
        ("resetter", "reset"),
        ("refused", "refused"),
    ];
    for (name, reason) in fields {
        let part = format!("name=\"{name}\" reason={reason}");
        server.stderr.wait_for(&part);
        let mut lines = server.stderr.lines();
        lines.retain(|line| line.contains(&format!("name=\"{name}\"")));
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(lines[0].contains("address=127.0.0.1:"), "{lines:?}");
    }
    server.stderr.wait_for("reason=full");
    eventually(PATIENCE, "everyone has left", || {
        server.metric("smolchat_users") == 0
    });
    let mut alice = server.connect("alice");
    alice.say_and_hear("one");
    alice.send_raw(b"nonsense\n");
    alice.notice();
    let answer = get(server.web.expect("a page"), "/metrics");
    let mime = "application/openmetrics-text; version=1.0.0";
    assert!(answer.header("content-type").contains(mime), "{answer:?}");
    let text = answer.text();
    let of = |reason| {
        server.metric(&format!(
            "smolchat_connections_ended_total{{reason=\"{reason}\"}}"
        ))
    };
    // The witness and the crowd closed their connections, with unread lines or without.
    let (closed, reset) = (of("closed"), of("reset"));
    assert!(closed + reset == 5 && closed >= 1 && reset >= 1, "{text}");
    // Lines: four names, seventeen invalid lines, and two of alice.
    for (name, value) in [
        ("connections_ended_total{reason=\"refused\"}", 1),
        ("connections_ended_total{reason=\"fault\"}", 0),
        ("connections_refused_total{reason=\"full\"}", 1),
        ("connections_accepted_total", 8),
        ("connections{state=\"behind\"}", 0),
        ("users", 1),
        ("lines_in_total", 23),
        ("lines_refused_total", 18),
    ] {
        assert_eq!(server.metric(&format!("smolchat_{name}")), value, "{name}");
    }
    let (sent, received) = ("smolchat_bytes_out_total", "smolchat_bytes_in_total");
    assert!(server.metric(sent) > server.metric(received));
    assert!(server.metric("smolchat_lines_out_total") >= 30);
    // Each line that waited for an answer is in a batch of its own.
    assert!(server.metric("smolchat_delivery_seconds_count") >= 7);
    assert!(
        !text.contains("alice") && !text.contains("127.0.0.1"),
        "{text}"
    );
    assert!(text.ends_with("# EOF\n"));
}

#[test]
fn json_log_has_one_object_per_line_and_no_message() {
    let server = RealServer::start(&["--log", "trace", "--log-format", "json"]);
    let mut talker = server.join("talker");
    talker.say_and_hear("a secret between us");
    talker.request("history", "");
    talker.expect("talker", "a secret between us");
    be_refused(server.join("refused"));
    server.stderr.wait_for("\"reason\":\"refused\"");
    let lines = server.stderr.lines();
    let mut ends = 0;
    for line in &lines {
        let entry: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"));
        assert!(
            entry["timestamp"].is_string() && entry["level"].is_string(),
            "{line}"
        );
        assert!(!line.contains("secret"), "{line}");
        if entry["name"] == "refused" {
            ends += 1;
            assert_eq!(entry["reason"], "refused");
            assert_eq!(entry["level"], "INFO");
        }
    }
    assert_eq!(ends, 1);
}

#[test]
fn failed_start_is_logged_as_json() {
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let port = taken.local_addr().expect("its address").port().to_string();
    let arguments = [
        "--log-format",
        "json",
        "--host",
        "127.0.0.1",
        "--port",
        &port,
    ];
    let command = RealServer::bare_command(&arguments);
    let ran = run_to_end(command);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    let entry: Value = serde_json::from_str(&ran.stderr).expect("one object");
    assert_eq!(entry["level"], "ERROR");
    let message = entry["message"].as_str().expect("a sentence");
    assert!(message.contains(&port), "{message}");
}

#[test]
fn internal_failure_is_explained_with_status_70() {
    // Address space for the stack of one thread, not of a second, and for much else.
    let mut command = RealServer::command_after("ulimit -v 1500000 || exit 99", &["--no-web"]);
    command.env("RUST_MIN_STACK", (1 << 30).to_string());
    let ran = run_to_end(command);
    if ran.code == Some(99) {
        return skip("this system has no limit of memory for a process");
    }
    assert_eq!(ran.code, Some(70), "{ran:?}");
    let sentence = "smolchat-server: Cannot start a thread: ";
    let mut lines = ran.stderr.lines();
    assert!(lines.any(|line| line.starts_with(sentence)), "{ran:?}");
}

#[test]
fn every_page_disconnect_is_logged_and_counted_once() {
    let server = RealServer::start(&["--log", "debug"]);
    let mut expected = Vec::new();
    for (request, reason) in [
        ("", "closed"),
        ("GET /healthz HTTP/1.0\r\n\r\n", "closed"),
        ("hello\r\n\r\n", "malformed"),
        ("POST / HTTP/1.0\r\n\r\n", "method"),
        (
            "GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n",
            "misdirected",
        ),
        ("GET / HTTP/1.0\r\nContent-Length: 1\r\n\r\n", "body"),
        ("GET /api/events HTTP/1.0\r\n\r\n", "version"),
    ] {
        let mut http = Http::connect(server.web.expect("a page"));
        http.send(request.as_bytes());
        http.finish_sending();
        http.rest();
        expected.push((http.link.local_addr().expect("its address"), reason));
    }
    for (address, reason) in &expected {
        let fields = format!("address={address} reason={reason}");
        server.stderr.wait_for(&fields);
        let mut lines = server.stderr.lines();
        lines.retain(|line| line.contains(&format!("address={address} ")));
        assert_eq!(lines.len(), 1, "{lines:?}");
    }
    let answer = get(server.web.expect("a page"), "/metrics").text();
    for (_, reason) in &expected {
        let count = expected.iter().filter(|(_, each)| each == reason).count();
        let line = format!("smolchat_web_ended_total{{reason=\"{reason}\"}} {count}\n");
        assert!(answer.contains(&line), "{line}{answer}");
    }
    assert!(answer.contains("smolchat_web_ended_total{reason=\"fault\"} 0\n"));
}

#[track_caller]
fn serves_without_a_log(log: Stdio) {
    // The log does not tell the address, so the test chooses a free port.
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let address = free.local_addr().expect("its address");
    drop(free);
    let port = address.port().to_string();
    let mut command = RealServer::bare_command(&["--no-web", "--log", "trace", "--port", &port]);
    command.stdout(Stdio::null()).stderr(log);
    let mut server = Program::spawn_as_is(command);
    let mut stream = None;
    eventually(PATIENCE, "the server listens", || {
        stream = TcpStream::connect(address).ok();
        stream.is_some()
    });
    let stream = stream.expect("a connection");
    let mut client = LineClient::new(stream, "client", &Transcript::start());
    client.expect_own_arrival();
    for number in 0..100 {
        client.say_and_hear(&number.to_string());
    }
    send_signal(server.id(), "TERM");
    client.expect_notice("The server is shutting down");
    assert_eq!(server.wait(), Some(0));
}

#[test]
fn a_closed_log_does_not_stop_the_chat() {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    serves_without_a_log(Stdio::from(writer));
}

#[test]
fn a_full_disk_under_the_log_does_not_stop_the_chat() {
    match std::fs::OpenOptions::new().write(true).open("/dev/full") {
        Ok(full) => serves_without_a_log(Stdio::from(full)),
        Err(_) => skip("this system has no /dev/full"),
    }
}

/// Runs a server with its log on a disk of 64 KiB at `/mnt`: the disk fills up and is freed.
#[cfg(target_os = "linux")]
const LIFE_WITH_A_FULL_DISK: &str = r#"
mount -t tmpfs -o size=64k tmpfs /mnt || exit 99
"$0" --port 0 --web-port 0 --log trace --log-format json >/dev/null 2>/mnt/log &
server=$!
until grep -q 'web page is' /mnt/log; do :; done
port=$(sed -n 's/.*clients connect to 127.0.0.1:\([0-9]*\).*/\1/p' /mnt/log)
web=$(sed -n 's,.*http://127.0.0.1:\([0-9]*\)/.*,\1,p' /mnt/log)
skipped() {
    bash -c "exec 3<>/dev/tcp/127.0.0.1/$web
        printf 'GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n' >&3
        cat <&3" | sed -n 's/^smolchat_log_skipped_lines //p'
}
visit() { bash -c "exec 3<>/dev/tcp/127.0.0.1/$port; head -n 1 <&3 >/dev/null"; }
dd if=/dev/zero of=/mnt/fill bs=100 count=1000 2>/dev/null
truncate -s -300 /mnt/fill
until [ "$(skipped)" -gt 5 ]; do visit; done
rm /mnt/fill
until grep -q 'missing here' /mnt/log; do visit; done
skipped
kill $server
wait $server
cat /mnt/log
"#;

#[test]
#[cfg(target_os = "linux")]
fn log_continues_after_a_full_disk_and_counts_lost_lines() {
    let mut command = Command::new("timeout");
    command.args(["60", "unshare", "-rm", "bash", "-c", LIFE_WITH_A_FULL_DISK]);
    let ran = command.arg(env!("CARGO_BIN_EXE_smolchat-server")).output();
    let Ok(ran) = ran else {
        return skip("unshare and timeout are needed for a small file system");
    };
    let errors = String::from_utf8_lossy(&ran.stderr);
    if ran.status.code() == Some(99) || errors.contains("unshare") {
        return skip("this machine gives no small file system");
    }
    let text = String::from_utf8_lossy(&ran.stdout).into_owned();
    let (count, log) = text.split_once('\n').expect("the count first");
    let count: u64 = count.parse().unwrap_or_else(|_| panic!("{text}\n{errors}"));
    assert!(count > 5, "{count}");
    let (mut missing, mut torn) = (0, 0);
    for line in log.lines() {
        let Ok(entry) = serde_json::from_str::<Value>(line) else {
            // The beginning of a line, when the disk was full.
            assert_eq!(line.matches("{\"timestamp\"").count(), 1, "glued: {line}");
            torn += 1;
            continue;
        };
        let message = entry["message"].as_str().unwrap_or_default();
        if let Some((lines, _)) = message
            .split_once(" lines are missing here")
            .or(message.split_once(" line is missing here"))
        {
            missing += lines.parse::<u64>().expect("a number");
        }
    }
    // Each visit after the first failure may find room for a piece of a line, no more.
    assert!(
        missing >= count && torn >= 1,
        "{missing} told, {count} counted, {torn} torn"
    );
}
