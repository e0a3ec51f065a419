//! What the operator sees: why connections end, in the log and in the counts, and a log that
//! cannot be written.
//!
//! The real program, its standard error and its page. No test may depend on the wording of a
//! log line beyond its fields.

use crate::support::{LineClient, PATIENCE, RealServer, eventually, skip};
use serde_json::Value;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

/// Sends lines that are refused until the server closes the connection.
fn be_refused(mut client: LineClient) {
    for _ in 0..17 {
        client.send_raw(b"nonsense\n");
    }
    let last = client.read_to_end().pop().expect("a farewell");
    assert!(last.1.ends_with("the connection is closed"), "{}", last.1);
}

fn end_in_each_way(server: &RealServer) {
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
}

#[test]
fn every_disconnect_is_logged_once() {
    let server = RealServer::start(&["--log", "debug", "--max-clients", "3"]);
    end_in_each_way(&server);
    let fields = [
        ("quitter", "closed"),
        ("resetter", "reset"),
        ("refused", "refused"),
    ];
    for (name, reason) in fields {
        let part = format!("name=\"{name}\" reason={reason}");
        server.stderr.wait_for(&part);
        let lines = server.stderr.lines();
        let of_it = lines
            .iter()
            .filter(|line| line.contains(&format!("name=\"{name}\"")));
        let of_it: Vec<_> = of_it.collect();
        assert_eq!(of_it.len(), 1, "{of_it:?}");
        assert!(of_it[0].contains("address=127.0.0.1:"), "{of_it:?}");
    }
    server.stderr.wait_for("reason=full");
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
    let mut command = RealServer::bare_command(&arguments);
    let ran = command.output().expect("the program runs");
    let told = String::from_utf8_lossy(&ran.stderr);
    assert_eq!(
        (ran.status.code(), told.lines().count()),
        (Some(1), 1),
        "{told}"
    );
    let entry: Value = serde_json::from_str(&told).expect("an object");
    assert_eq!(entry["level"], "ERROR");
    let message = entry["message"].as_str().expect("a sentence");
    assert!(message.contains(&port), "{message}");
}

#[test]
fn internal_failure_is_explained_with_status_70() {
    let command = RealServer::command(&["--no-web"]);
    let mut shell = Command::new("sh");
    // Room for the stack of one thread, not for that of a second, but much for all else.
    shell.args(["-c", "ulimit -v 1500000 && exec \"$0\" \"$@\""]);
    shell.env("RUST_MIN_STACK", (1 << 30).to_string());
    shell.arg(command.get_program()).args(command.get_args());
    shell.env_remove("RUST_LOG").stdin(Stdio::null());
    let ran = shell.output().expect("a shell");
    if ran.status.code() == Some(2) {
        return skip("this system has no limit of memory for a process");
    }
    let told = String::from_utf8_lossy(&ran.stderr);
    assert_eq!(ran.status.code(), Some(70), "{told}");
    let sentence = "smolchat-server: Cannot start a thread: ";
    assert!(
        told.lines().any(|line| line.starts_with(sentence)),
        "{told}"
    );
}

#[test]
fn address_that_connects_too_often_is_rejected_unannounced() {
    let server = RealServer::start(&["--connect-rate", "3"]);
    let mut first = server.join("first");
    let second = server.connect("second");
    first.expect_notice(&format!("{} has entered the chat", second.address()));
    let third = server.connect("third");
    first.expect_notice(&format!("{} has entered the chat", third.address()));
    for _ in 0..20 {
        let mut one_too_many = server.connect_raw("one too many");
        let sentence = one_too_many.notice();
        let rest =
            sentence.strip_prefix("Too many new connections from your address; try again in ");
        let seconds: Option<u64> = rest.and_then(|rest| rest.strip_suffix(" s")?.parse().ok());
        assert!(
            seconds.is_some_and(|seconds| (1..=20).contains(&seconds)),
            "{sentence}"
        );
        one_too_many.expect_end();
    }
    first.say_and_hear("nobody else came");
}

/// The answer of the page to a request for this path: its head and its body.
fn get(server: &RealServer, path: &str) -> (String, String) {
    let web = server.web.expect("a page");
    let mut stream = TcpStream::connect(web).expect("the page listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a deadline");
    let request = format!("GET {path} HTTP/1.1\r\nHost: {web}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    (head.to_owned(), body.to_owned())
}

/// The value of a metric.
fn value(text: &str, name: &str) -> f64 {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    let line = line.unwrap_or_else(|| panic!("no {name} in\n{text}"));
    line.parse().expect("a number")
}

#[test]
fn metrics_count_each_event() {
    let server = RealServer::start(&["--log", "debug", "--max-clients", "3"]);
    end_in_each_way(&server);
    eventually(PATIENCE, "everyone has left", || {
        value(&get(&server, "/metrics").1, "smolchat_users") == 0.0
    });
    let mut alice = server.connect("alice");
    alice.say_and_hear("one");
    alice.send_raw(b"nonsense\n");
    alice.notice();
    let ended = "smolchat_connections_ended_total";
    let (head, text) = get(&server, "/metrics");
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    let mime = "application/openmetrics-text; version=1.0.0";
    assert!(head.contains(mime), "{head}");
    assert_eq!(value(&text, "smolchat_users"), 1.0);
    assert_eq!(value(&text, "smolchat_connections_accepted_total"), 8.0);
    let full = "smolchat_connections_refused_total{reason=\"full\"}";
    assert_eq!(value(&text, full), 1.0);
    let of = |reason: &str| value(&text, &format!("{ended}{{reason=\"{reason}\"}}"));
    assert_eq!(of("refused"), 1.0);
    assert_eq!(
        of("closed") + of("reset"),
        5.0,
        "the others left by themselves"
    );
    assert!(of("reset") >= 1.0 && of("closed") >= 1.0);
    assert_eq!(of("fault"), 0.0);
    // Four names, seventeen lines of nonsense, and what alice sent.
    assert_eq!(value(&text, "smolchat_lines_in_total"), 23.0);
    assert_eq!(value(&text, "smolchat_lines_refused_total"), 18.0);
    assert!(value(&text, "smolchat_lines_out_total") >= 30.0);
    assert!(value(&text, "smolchat_bytes_out_total") > value(&text, "smolchat_bytes_in_total"));
    // What was sent only after an answer came is in a batch of its own: four names, the nonsense,
    // and twice alice.
    assert!(value(&text, "smolchat_delivery_seconds_count") >= 7.0);
    assert_eq!(value(&text, "smolchat_connections{state=\"behind\"}"), 0.0);
    assert!(
        !text.contains("alice") && !text.contains("127.0.0.1"),
        "{text}"
    );
    assert!(text.ends_with("# EOF\n"));
}

#[test]
fn every_page_disconnect_is_logged_and_counted_once() {
    let server = RealServer::start(&["--log", "debug"]);
    let web = server.web.expect("a page");
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
        let mut stream = TcpStream::connect(web).expect("the page listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a deadline");
        stream.write_all(request.as_bytes()).expect("sent");
        stream.shutdown(Shutdown::Write).expect("the end is sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an end");
        let address = stream.local_addr().expect("its own address");
        expected.push((format!("address={address} reason={reason}"), reason));
    }
    for (fields, _) in &expected {
        server.stderr.wait_for(fields);
        let lines = server.stderr.lines();
        let (address, _) = fields.split_once(" reason").expect("two fields");
        let of_it = lines.iter().filter(|line| line.contains(address)).count();
        assert_eq!(of_it, 1, "{lines:?}");
    }
    let text = get(&server, "/metrics").1;
    for (_, reason) in &expected {
        let count = expected.iter().filter(|(_, each)| each == reason).count();
        let name = format!("smolchat_web_ended_total{{reason=\"{reason}\"}}");
        assert_eq!(value(&text, &name), count as f64, "{text}");
    }
    assert_eq!(
        value(&text, "smolchat_web_ended_total{reason=\"fault\"}"),
        0.0
    );
}

#[test]
fn connection_without_descriptor_counts_as_accepted_and_rejected() {
    let command = RealServer::command(&[]);
    let mut shell = Command::new("sh");
    // The shell becomes the server.
    shell.args(["-c", "ulimit -n 64; exec \"$0\" \"$@\""]);
    shell.arg(command.get_program()).args(command.get_args());
    shell.env_remove("RUST_LOG").stdin(Stdio::null());
    shell.stdout(Stdio::piped()).stderr(Stdio::piped());
    let server = RealServer::from_command(shell);
    let mut crowd: Vec<_> = (0..100)
        .map(|number| server.connect_raw(&format!("c{number}")))
        .collect();
    let mut last = crowd.pop().expect("the last of them");
    last.expect_notice("The server has no room for a further connection; try again later");
    last.expect_end();
    drop(crowd);
    let mut text = String::new();
    eventually(PATIENCE, "everyone is counted", || {
        // The page has no descriptor for its answer either, until those who left are gone.
        text = get(&server, "/metrics").1;
        text.contains("smolchat_connections_accepted_total 100\n")
    });
    let refused = "smolchat_connections_refused_total{reason=\"no-descriptor\"}";
    let turned_away = value(&text, refused);
    assert!((1.0..100.0).contains(&turned_away), "{turned_away}");
}

/// A server whose log goes there; its port is in the answer.
fn server_with_log(log: Stdio) -> (Child, u16) {
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let port = free.local_addr().expect("its address").port();
    drop(free);
    let mut command = RealServer::bare_command(&["--no-web", "--log", "trace"]);
    command.args(["--port", &port.to_string()]);
    command.stdout(Stdio::null()).stderr(log);
    let child = command.spawn().expect("the server starts");
    (child, port)
}

#[track_caller]
fn serves_without_a_log(log: Stdio) {
    let (mut child, port) = server_with_log(log);
    let mut stream = None;
    eventually(PATIENCE, "the server listens", || {
        stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok();
        stream.is_some()
    });
    let mut client = LineClient::new(
        stream.expect("connected"),
        "client",
        &crate::support::Transcript::start(),
    );
    client.expect_own_arrival();
    for number in 0..100 {
        client.say_and_hear(&number.to_string());
    }
    crate::support::send_signal(child.id(), "TERM");
    client.expect_notice("The server is shutting down");
    let status = child.wait().expect("the server ends");
    assert_eq!(status.code(), Some(0));
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

/// What is run where a disk of 64 KiB is at `/mnt`, for the whole life of a server.
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
