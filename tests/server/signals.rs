//! Signals and the end of the server program.

use crate::support::http::Http;
use crate::support::{
    Deadline, LineClient, PATIENCE, RealServer, decode, eventually, request, unpaced_with,
};
use socket2::SockRef;
use std::io::Write;
use std::net::{Shutdown, TcpStream};
use std::thread;
use std::time::Duration;

/// Longest time from the signal to the end: the promised five seconds, twice for a busy machine.
const END: Duration = Duration::from_secs(10);

const FAREWELL: &str = "The server is shutting down";

/// Waits for the end of a stopping server.
#[track_caller]
pub(crate) fn wait_for_end(server: &mut RealServer) {
    let status = server.wait(END);
    assert_eq!(status.code(), Some(0), "{}", server.stderr.text());
}

/// Sends a signal and waits for the end.
#[track_caller]
pub(crate) fn stop(server: &mut RealServer, signal: &str) {
    server.signal(signal);
    wait_for_end(server);
}

/// Expects the farewell and the end of the stream.
#[track_caller]
fn expect_farewell(client: &mut LineClient) {
    client.expect_notice(FAREWELL);
    client.expect_end();
}

#[track_caller]
fn check_stop_is_announced(signal: &str) {
    let mut server = RealServer::start(&[]);
    let mut clients = server.room(["alice", "bob", "carol"]);
    // The clients leave their connections open.
    stop(&mut server, signal);
    clients.iter_mut().for_each(expect_farewell);
    let lines = server.stdout.lines();
    assert_eq!(lines.last(), Some(&format!("[Server]: {FAREWELL}")));
}

#[test]
fn every_ending_signal_is_announced_and_ends_with_status_0() {
    for signal in [
        "ALRM", "HUP", "INT", "PROF", "QUIT", "TERM", "USR1", "USR2", "VTALRM", "XCPU",
    ] {
        check_stop_is_announced(signal);
    }
}

#[test]
fn hangup_under_nohup_does_not_stop_the_server() {
    let command = RealServer::command_after("trap '' HUP", &[]);
    let server = RealServer::from_command(command);
    let mut alice = server.join("alice");
    server.signal("HUP");
    for number in 0..10 {
        alice.say_and_hear(&number.to_string());
    }
}

#[test]
fn port_is_free_after_the_stop() {
    let mut server = RealServer::start(&[]);
    let _clients = server.room(["alice", "bob"]);
    // Without its socket option, the connections that the server closes would occupy the port.
    stop(&mut server, "TERM");
    let ports = [Some(server.address), server.web].map(|address| address.expect("two").port());
    let [chat, web] = ports.map(|port| port.to_string());
    let command = RealServer::bare_command(&["--port", &chat, "--web-port", &web]);
    let again = RealServer::from_command(command);
    assert_eq!(again.address, server.address);
    again.connect("alice");
}

/// Starts a server with a talker, stuck readers, and much that they have not read.
fn server_with_stuck_readers(count: usize) -> (RealServer, LineClient, Vec<LineClient>) {
    let server = RealServer::start(&unpaced_with(&["--max-lag", "1073741824"]));
    let mut talker = server.join("talker");
    let mut stuck: Vec<LineClient> = (0..count)
        .map(|number| server.connect_narrow(&format!("stuck{number}")))
        .collect();
    talker.say_many(3000, &"x".repeat(4000));
    stuck[0].request("history", "");
    talker.say_and_skip_to("now");
    (server, talker, stuck)
}

#[test]
fn stuck_readers_do_not_delay_the_stop() {
    let (mut server, mut talker, _stuck) = server_with_stuck_readers(5);
    server.signal("TERM");
    expect_farewell(&mut talker);
    wait_for_end(&mut server);
}

/// Sends a second signal to a stopping server with a stuck reader, and returns the exit status.
fn stop_twice(second: &str) -> Option<i32> {
    let (mut server, mut talker, _stuck) = server_with_stuck_readers(1);
    server.signal("TERM");
    talker.skip_to("[Server]", FAREWELL);
    server.signal(second);
    server.wait(PATIENCE).code()
}

#[test]
fn a_second_signal_ends_at_once() {
    // The stuck reader delays the end by seconds. If the machine stands still for so long, the
    // second signal comes too late, and the test tries again.
    let mut statuses = (0..3).map(|_| stop_twice("TERM"));
    let status = statuses.find(|status| *status != Some(0));
    assert_eq!(status, Some(Some(130)));
}

#[test]
fn a_hangup_after_the_signal_does_not_cut_the_stop_short() {
    assert_eq!(stop_twice("HUP"), Some(0));
}

#[test]
fn throttled_senders_do_not_delay_the_stop() {
    let mut server = RealServer::start(&["--rate", "1", "--burst", "1"]);
    let mut flooder = server.connect("flooder");
    flooder.send_raw(&request("message", "again").repeat(5000));
    flooder.expect(&flooder.name.clone(), "again");
    server.signal("TERM");
    flooder.skip_to("[Server]", FAREWELL);
    flooder.expect_end();
    wait_for_end(&mut server);
}

#[test]
fn newcomers_do_not_delay_the_stop() {
    let mut server = RealServer::start(&[]);
    let _clients = server.room(["alice", "bob"]);
    server.signal("TERM");
    let address = server.address;
    let connecting = thread::spawn(move || {
        let connect = || TcpStream::connect_timeout(&address, PATIENCE).ok();
        std::iter::from_fn(connect).take(200).collect::<Vec<_>>()
    });
    wait_for_end(&mut server);
    connecting.join().expect("the newcomers end");
}

#[test]
fn page_readers_do_not_delay_the_stop() {
    let mut server = RealServer::start(&[]);
    let web = server.web.expect("a page");
    let mut readers: Vec<Http> = (0..6).map(|_| Http::connect(web)).collect();
    // The last one stays idle.
    for reader in &mut readers[..5] {
        reader.request("/api/events");
    }
    stop(&mut server, "TERM");
}

#[test]
fn flood_does_not_delay_the_stop() {
    let mut server = RealServer::start(&unpaced_with(&[]));
    let talkers = [0; 10].map(|_| {
        let mut client = server.connect("talker");
        thread::spawn(move || {
            let line = request("message", "on and on");
            let has_answer = |bytes: Vec<u8>| !bytes.is_empty();
            while client.try_send(&line).is_ok() && client.stream.some().is_ok_and(has_answer) {}
        })
    });
    eventually(PATIENCE, "talk", || server.stdout.lines().len() > 1000);
    stop(&mut server, "INT");
    for talker in talkers {
        talker.join().expect("a talker ends when the server does");
    }
}

/// Returns the last two lines of a stream, without summaries of arrivals, whose count includes the
/// reader's own arrival or not.
fn last_two_lines(mut client: LineClient) -> Vec<String> {
    client.stream.begin(Deadline::of_test());
    let mut bytes = Vec::new();
    let end = client.stream.rest(&mut bytes);
    end.expect("an end without a reset");
    assert_eq!(bytes.last(), Some(&b'\n'), "the last line is whole");
    let text = String::from_utf8(bytes).expect("text");
    let is_summary = |line: &&str| {
        line.contains(" users have entered the chat") || line.contains(" user has entered the chat")
    };
    let last = text.lines().rev().filter(|line| !is_summary(line)).take(2);
    last.map(str::to_owned).collect()
}

/// Expects the farewell after the same line in every stream, and returns that line.
#[track_caller]
fn same_end(mut ends: Vec<Vec<String>>) -> String {
    ends.sort();
    ends.dedup();
    assert_eq!(ends.len(), 1, "the ends differ: {ends:?}");
    assert!(ends[0][0].contains(FAREWELL), "{:?}", ends[0]);
    ends.remove(0).remove(1)
}

#[test]
fn thousand_talkers_receive_the_same_last_message() {
    const CLIENTS: usize = 1000;
    rlimit::increase_nofile_limit(u64::MAX).expect("the limit of open files can be raised");
    let mut server = RealServer::start(&["--announce-limit", "0", "--max-clients", "1001"]);
    let _stuck = server.connect_narrow("stuck");
    let mut clients: Vec<LineClient> = (0..CLIENTS)
        .map(|number| server.connect(&format!("talker{number}")))
        .collect();
    for (number, client) in clients.iter_mut().enumerate() {
        let lines = (0..3).flat_map(|line| request("message", &format!("{number}.{line}")));
        client.send_raw(&lines.collect::<Vec<u8>>());
        if number == CLIENTS / 2 {
            server.signal("TERM");
        }
    }
    let mut readers = Vec::new();
    while !clients.is_empty() {
        let group = clients.split_off(clients.len().saturating_sub(CLIENTS / 10));
        let read = move || group.into_iter().map(last_two_lines).collect::<Vec<_>>();
        readers.push(thread::spawn(read));
    }
    wait_for_end(&mut server);
    let readers = readers.into_iter();
    let ends = readers.flat_map(|reader| reader.join().expect("every client reads to the end"));
    same_end(ends.collect());
}

/// Talks and reads until the connection ends, and returns the last two lines.
fn talk_to_the_end(client: LineClient) -> Vec<String> {
    // Small, so that few bytes are in flight at the end: the server discards input up to a bound.
    SockRef::from(&*client.stream)
        .set_send_buffer_size(4096)
        .expect("a small buffer");
    let mut sender = client.stream.sender();
    let handle = client.stream.try_clone().expect("a second handle");
    let talking = thread::spawn(move || {
        let mut lines = (0..).map(|number: u64| request("message", &number.to_string()));
        while sender.write_all(&lines.next().unwrap_or_default()).is_ok() {}
    });
    let last = last_two_lines(client);
    // Ends the talking.
    let _ = handle.shutdown(Shutdown::Both);
    talking.join().expect("the talking ends");
    last
}

#[test]
fn active_readers_receive_the_same_last_message_beside_stuck_ones() {
    const STUCK: usize = 10;
    const LISTENERS: usize = 20;
    const TALKERS: usize = 40;
    const MAX_LAG: u64 = 32 * 1024 * 1024;
    let options = "--announce-limit 0 --max-lag 33554432 --max-message 16384 --max-line 131072 \
                   --rate 20 --burst 300";
    let options: Vec<&str> = options.split_whitespace().collect();
    let mut server = RealServer::start(&options);
    let _stuck: Vec<LineClient> = (0..STUCK)
        .map(|number| server.connect_narrow_raw(&format!("stuck{number}")))
        .collect();
    eventually(PATIENCE, "all stuck readers are connected", || {
        server.metric("smolchat_users") == STUCK as u64
    });
    // Nearly half of the allowed lag: a reader with more has only ten seconds, which a busy machine
    // exceeds. Each filler sends its burst at once, because each echo takes long there.
    let text = "x".repeat(12_000);
    let count = MAX_LAG * 45 / 100 / 12_000 / 6;
    let message = |number: u64| format!("{number} {text}");
    for number in 0..6 {
        let mut filler = server.connect(&format!("filler{number}"));
        let lines = (0..count).flat_map(|number| request("message", &message(number)));
        filler.send_raw(&lines.collect::<Vec<u8>>());
        filler.skip_to(&filler.name.clone(), &message(count - 1));
    }
    let mut readers = Vec::new();
    for number in 0..LISTENERS + TALKERS {
        let client = server.connect(&format!("reader{number}"));
        let read = match number < LISTENERS {
            true => last_two_lines,
            false => talk_to_the_end,
        };
        readers.push(thread::spawn(move || read(client)));
    }
    let lines_before = server.metric("smolchat_lines_in_total");
    eventually(PATIENCE, "talk, and a long backlog of everyone", || {
        server.metric("smolchat_lines_in_total") > lines_before + TALKERS as u64
            && server.metric("smolchat_lag_most_bytes") > MAX_LAG * 2 / 5
            && server.metric("smolchat_connections{state=\"behind\"}") >= STUCK as u64
            && server.metric("smolchat_users") == (STUCK + LISTENERS + TALKERS) as u64
    });
    stop(&mut server, "TERM");
    let readers = readers.into_iter();
    let ends = readers.map(|reader| reader.join().expect("every reader reads to the end"));
    let line = same_end(ends.collect());
    let (source, _) = decode(format!("{line}\n").as_bytes()).expect("a message");
    assert_ne!(source, "[Server]", "a talker said the line before it");
}
