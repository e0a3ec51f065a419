//! Random cuts, stalls and resets of connections, and random kills, halts and restarts of the
//! server, with clients of the three dialects.
//!
//! At the end, every client and the database have every message once, in one order, and each
//! accepted private message was received once or reported. A printed seed
//! determines the faults: `SMOLCHAT_TORTURE_SEED` repeats it as far as the machine has the same
//! timing. `SMOLCHAT_TORTURE_SECONDS` sets the duration.

mod basic;
mod browser;
mod extended;
mod private;

use crate::support::extended::Folder;
use crate::support::random::Random;
use crate::support::{Deadline, PATIENCE, RealServer, Transcript, send_signal};
use serde_json::{Value, json};
use socket2::SockRef;
use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, HashMap};
use std::hash::{Hash, Hasher};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use basic::BasicClient;
use browser::BrowserClient;
use extended::ExtendedClient;
use private::{check_books, name_of};

/// Clients of the extended dialect that talk all the time.
const CLIENTS: usize = 8;
/// Browsers; their numbers follow those of the clients.
const BROWSERS: usize = 2;
/// Clients of the basic dialect; their numbers follow those of the browsers.
const BASIC_CLIENTS: usize = 2;
/// Default duration.
const SHORT: Duration = Duration::from_secs(60);
/// Messages of one client without an acknowledgement.
const MOST_UNACKNOWLEDGED: usize = 20;
/// Time without a line after which a client sends its next message.
const LISTEN: Duration = Duration::from_millis(5);
/// Time until the next attempt to connect.
const RETRY: Duration = Duration::from_millis(20);
/// Time without a new event after which none comes: no client sends, so only departures are left.
const QUIET: Duration = Duration::from_secs(1);

/// State that all threads share.
struct World {
    proxy: SocketAddr,
    web_proxy: SocketAddr,
    /// Names of the clients that get private messages.
    names: Mutex<Vec<String>>,
    /// Clients that may still have messages without an acknowledgement.
    busy: AtomicUsize,
    /// Whether the faults and the new messages are over.
    is_calm: AtomicBool,
    /// Whether the proxy ends.
    has_ended: AtomicBool,
    /// Id of the last event, which every client must get; 0 until it is known.
    goal: AtomicU64,
    cuts: AtomicU64,
    resumes: AtomicU64,
}

impl World {
    /// Reports once that a client has no message left to send.
    fn report_if_idle(&self, has_reported: &mut bool, is_idle: bool) {
        if is_idle && self.is_calm.load(Ordering::Acquire) && !*has_reported {
            *has_reported = true;
            self.busy.fetch_sub(1, Ordering::AcqRel);
        }
    }

    /// Returns whether a client with this event needs no other one.
    fn is_over(&self, last: u64) -> bool {
        let goal = self.goal.load(Ordering::Acquire);
        goal > 0 && last >= goal
    }
}

/// A message to send; its nonce is its number.
#[derive(Clone, Debug)]
struct Item {
    number: u64,
    /// Name of the target of a private message.
    target: Option<String>,
}

impl Item {
    fn new(number: u64, sender: usize, world: &World, random: &mut Random) -> Self {
        let names = world.names.lock().expect("no panic");
        let target = names[random.below(names.len() as u64) as usize].clone();
        let is_private = random.happens(10) && !target.starts_with(&name_of(sender, 0));
        Item {
            number,
            target: is_private.then_some(target),
        }
    }

    /// Returns type and data of the line.
    fn data(&self, sender: usize) -> (&'static str, Value) {
        let text = format!("{sender} {}", self.number);
        let nonce = self.number.to_string();
        match &self.target {
            None => ("message", json!({"message": text, "nonce": nonce})),
            Some(target) => {
                let data = json!({"target": target, "message": text, "nonce": nonce});
                ("private", data)
            }
        }
    }
}

// The proxy

fn run_proxy(world: &Arc<World>, listener: &TcpListener, server: SocketAddr, mut random: Random) {
    for client in listener.incoming() {
        if world.has_ended.load(Ordering::Acquire) {
            return;
        }
        let Ok(client) = client else { continue };
        // Without a server, the connection ends.
        let Ok(server) = TcpStream::connect(server) else {
            continue;
        };
        for (from, to) in [(&client, &server), (&server, &client)] {
            let (from, to) = (from.try_clone(), to.try_clone());
            let (world, random) = (world.clone(), random.fork());
            if let (Ok(from), Ok(to)) = (from, to) {
                thread::spawn(move || relay(&world, from, to, random));
            }
        }
    }
}

/// Passes bytes on until one side ends, or cuts the connection after a random number of bytes.
fn relay(world: &World, mut from: TcpStream, mut to: TcpStream, mut random: Random) {
    let most = random.one_of(&[300, 3_000, 30_000, 300_000]);
    let mut left = random.below(most);
    let mut buffer = [0; 2048];
    loop {
        let Ok(count @ 1..) = from.read(&mut buffer) else {
            let _ = to.shutdown(Shutdown::Write);
            return;
        };
        let is_calm = world.is_calm.load(Ordering::Acquire);
        if !is_calm && random.happens(2) {
            thread::sleep(Duration::from_millis(random.below(100)));
        }
        let mut taken = count;
        if !is_calm {
            taken = usize::try_from(left).map_or(count, |left| left.min(count));
            left -= taken as u64;
        }
        // Two writes tear lines.
        let half = usize::try_from(random.below(taken as u64 + 1)).unwrap_or(0);
        let is_gone =
            to.write_all(&buffer[..half]).is_err() || to.write_all(&buffer[half..taken]).is_err();
        if is_gone || taken < count {
            world.cuts.fetch_add(1, Ordering::Relaxed);
            break;
        }
    }
    if random.happens(50) {
        for side in [&from, &to] {
            // Fails for a connection that is already closed.
            let _ = SockRef::from(side).set_linger(Some(Duration::ZERO));
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}

// Events

/// Hashes of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seen {
    /// The line, which is the same for every client.
    line: u64,
    /// Type and text, which are the same in the database.
    content: u64,
}

impl Seen {
    fn of(line: &Value) -> Self {
        let data = &line["data"];
        let text = data["message"].as_str().or(data["new_name"].as_str());
        let text = text.or(data["reason"].as_str()).unwrap_or_default();
        Seen {
            line: hash(&line.to_string()),
            content: content(line["type"].as_str().expect("a type"), text),
        }
    }
}

fn content(kind: &str, text: &str) -> u64 {
    hash(&(kind, text))
}

fn hash(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

// The server

fn start_server(file: &Path, ports: [u16; 2]) -> RealServer {
    let file = file.to_str().expect("a plain path");
    let [port, web_port] = ports.map(|port| port.to_string());
    let mut command = RealServer::bare_command(&["--host", "127.0.0.1"]);
    command.args(["--port", &port, "--web-port", &web_port]);
    command.args(["--db", file, "--log", "warn"]);
    RealServer::from_command(command)
}

/// Halts, kills and restarts the server until `end`; returns the last one and the number of
/// restarts.
fn kill_and_start(
    file: &Path,
    ports: [u16; 2],
    end: Instant,
    random: &mut Random,
) -> (RealServer, u32) {
    let mut server = start_server(file, ports);
    let mut kills = 0;
    while Instant::now() < end {
        let pause = Duration::from_millis(200 + random.below(2500));
        thread::sleep(pause.min(end.saturating_duration_since(Instant::now())));
        if random.happens(30) {
            send_signal(server.id(), "STOP");
            thread::sleep(Duration::from_millis(random.below(1500)));
            send_signal(server.id(), "CONT");
            continue;
        }
        let signal = if random.happens(80) { "KILL" } else { "TERM" };
        send_signal(server.id(), signal);
        server.wait(PATIENCE);
        server.stderr.wait_for_end();
        let told = server.stderr.text();
        assert!(!told.contains("panic") && !told.contains("ERROR"), "{told}");
        kills += 1;
        server = start_server(file, ports);
    }
    (server, kills)
}

// The end

/// Returns type and text of the events in the database by id.
fn stored(file: &Path) -> BTreeMap<u64, (String, String)> {
    let database = rusqlite::Connection::open(file).expect("the database");
    let check: String = database
        .query_row("PRAGMA integrity_check", [], |row| row.get(0))
        .expect("a check");
    assert_eq!(check, "ok");
    let mut statement = database
        .prepare("SELECT id, kind, coalesce(text, '') FROM events")
        .expect("a statement");
    let rows = statement.query_map([], |row| {
        let id: i64 = row.get(0)?;
        Ok((id as u64, (row.get(1)?, row.get(2)?)))
    });
    rows.expect("rows").map(|row| row.expect("a row")).collect()
}

type StoredEvents = BTreeMap<u64, (String, String)>;

fn check(clients: &[ExtendedClient], stored: &StoredEvents) {
    let ids: Vec<u64> = stored.keys().copied().collect();
    let all: Vec<u64> = (1..=ids.len() as u64).collect();
    assert_eq!(ids, all, "the database has a gap");
    let mut lines: Vec<Option<u64>> = vec![None; ids.len() + 1];
    for client in clients {
        // The client checked that the ids are consecutive.
        let first = client.last + 1 - client.events.len() as u64;
        for (id, seen) in (first..).zip(&client.events) {
            let (kind, text) = &stored[&id];
            assert_eq!(
                seen.content,
                content(kind, text),
                "event {id} in the database"
            );
            let same = *lines[id as usize].get_or_insert(seen.line);
            assert_eq!(seen.line, same, "event {id} differs between clients");
        }
    }
}

/// Checks that the store has each public message of a client once, in order.
fn check_said(number: usize, acknowledged: &HashMap<u64, u64>, stored: &StoredEvents) {
    let prefix = format!("{number} ");
    let own = stored.iter().filter_map(|(id, (kind, text))| {
        let number = text.strip_prefix(&prefix).filter(|_| kind == "message")?;
        Some((number.parse().expect("a number"), *id))
    });
    let sent: BTreeMap<u64, u64> = acknowledged.iter().map(|(n, id)| (*n, *id)).collect();
    assert!(own.eq(sent), "not once each in order");
}

fn check_browser(browser: &BrowserClient, stored: &StoredEvents) {
    for (id, seen) in &browser.messages {
        let (kind, text) = &stored[id];
        assert_eq!(
            (kind.as_str(), hash(text)),
            ("message", *seen),
            "event {id}"
        );
    }
    check_said(browser.number, &browser.acknowledged, stored);
}

#[test]
#[ignore = "slow"]
fn each_client_gets_each_message_once_despite_faults() {
    let seed = Random::seed_from("SMOLCHAT_TORTURE_SEED");
    let seconds = std::env::var("SMOLCHAT_TORTURE_SECONDS").ok();
    let seconds = seconds.map(|seconds| seconds.parse().expect("a number of seconds"));
    let time = seconds.map_or(SHORT, Duration::from_secs);
    eprintln!("SMOLCHAT_TORTURE_SEED={seed}, for {time:?}");
    let mut random = Random::new(seed);
    let folder = Folder::new();
    let file = folder.file("chat.db");
    // Free ports for every run of the server.
    let listen = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let free = [listen(), listen()];
    let servers = free
        .each_ref()
        .map(|free| free.local_addr().expect("its address"));
    drop(free);
    let proxies = [listen(), listen()];
    let [proxy, web_proxy] = proxies
        .each_ref()
        .map(|each| each.local_addr().expect("its address"));
    let names = (0..CLIENTS + BROWSERS).map(|number| name_of(number, 0));
    let world = Arc::new(World {
        proxy,
        web_proxy,
        names: Mutex::new(names.collect()),
        busy: AtomicUsize::new(CLIENTS + BROWSERS),
        is_calm: AtomicBool::new(false),
        has_ended: AtomicBool::new(false),
        goal: AtomicU64::new(0),
        cuts: AtomicU64::new(0),
        resumes: AtomicU64::new(0),
    });
    for (proxy, server) in proxies.into_iter().zip(servers) {
        let (world, random) = (world.clone(), random.fork());
        thread::spawn(move || run_proxy(&world, &proxy, server, random));
    }
    let transcript = Transcript::start();
    transcript.set_limit(time + 4 * PATIENCE);
    let clients = (0..CLIENTS).map(|number| {
        let client = ExtendedClient::new(number, random.fork());
        start(&world, &transcript, move |world| client.run(world))
    });
    let clients: Vec<_> = clients.collect();
    let browsers = (CLIENTS..CLIENTS + BROWSERS).map(|number| {
        let browser = BrowserClient::new(number, random.fork());
        start(&world, &transcript, move |world| browser.run(world))
    });
    let browsers: Vec<_> = browsers.collect();
    let first = CLIENTS + BROWSERS;
    let basic = (first..first + BASIC_CLIENTS).map(|number| {
        let client = BasicClient::new(number);
        start(&world, &transcript, move |world| client.run(world))
    });
    let basic: Vec<_> = basic.collect();
    let end = Instant::now() + time;
    let ports = servers.map(|server| server.port());
    let (mut left, kills) = kill_and_start(&file, ports, end, &mut random);
    world.is_calm.store(true, Ordering::Release);
    let are_idle = Deadline::after(2 * PATIENCE).poll(|| {
        let has_failed = clients.iter().any(|client| client.is_finished());
        has_failed || world.busy.load(Ordering::Acquire) == 0
    });
    assert!(are_idle, "a message is not acknowledged");
    world.goal.store(settle(&file), Ordering::Release);
    let are_done = || {
        clients.iter().all(|client| client.is_finished())
            && browsers.iter().all(|browser| browser.is_finished())
    };
    let are_done = Deadline::after(2 * PATIENCE).poll(are_done);
    assert!(are_done, "a client misses events");
    let clients: Vec<ExtendedClient> = clients.into_iter().map(end_of).collect();
    let browsers: Vec<BrowserClient> = browsers.into_iter().map(end_of).collect();
    world.has_ended.store(true, Ordering::Release);
    send_signal(left.id(), "TERM");
    assert_eq!(left.wait(PATIENCE).code(), Some(0));
    let stored = stored(&file);
    check(&clients, &stored);
    for client in &clients {
        check_said(client.number, &client.acknowledged, &stored);
    }
    for browser in &browsers {
        check_browser(browser, &stored);
    }
    let messages = stored.values().filter(|(kind, _)| kind == "message");
    let messages: Vec<_> = messages.map(|(_, text)| text.clone()).collect();
    for client in basic {
        end_of(client).check(&messages);
    }
    let books = clients.iter().map(|client| &client.private);
    let books: Vec<_> = books
        .chain(browsers.iter().map(|browser| &browser.private))
        .collect();
    let (accepted, reported) = check_books(&books);
    eprintln!(
        "{kills} ends of the server, {} broken links, {} resumes, {} events, {} messages, \
         {accepted} private messages, of which {reported} were reported as not delivered",
        world.cuts.load(Ordering::Relaxed),
        world.resumes.load(Ordering::Relaxed),
        stored.len(),
        messages.len(),
    );
    assert!(world.resumes.load(Ordering::Relaxed) > 0 && kills > 0 && accepted > 0);
}

/// Starts the thread of a client.
fn start<T: Send + 'static>(
    world: &Arc<World>,
    transcript: &Transcript,
    run: impl FnOnce(&World) -> T + Send + 'static,
) -> JoinHandle<T> {
    let (world, transcript) = (world.clone(), transcript.clone());
    thread::spawn(move || {
        transcript.share();
        run(&world)
    })
}

fn end_of<T>(thread: JoinHandle<T>) -> T {
    thread.join().expect("no failure")
}

/// Waits until no new event is stored for a while, and returns the id of the newest one.
fn settle(file: &Path) -> u64 {
    let database = rusqlite::Connection::open(file).expect("the database");
    let newest = || -> i64 {
        database
            .query_row("SELECT max(id) FROM events", [], |row| row.get(0))
            .expect("a number")
    };
    let (mut last, mut since) = (newest(), Instant::now());
    let is_quiet = Deadline::new().poll(|| {
        let now = newest();
        if now != last {
            (last, since) = (now, Instant::now());
        }
        since.elapsed() >= QUIET
    });
    assert!(is_quiet, "new events come without end");
    last as u64
}
