//! Random cuts, stalls and resets of connections, and random kills and restarts of the server.
//!
//! At the end, every client and the database have every message once, in one order. A printed seed
//! determines the faults: `SMOLCHAT_TORTURE_SEED` repeats it as far as the machine has the same
//! timing. `SMOLCHAT_TORTURE_SECONDS` sets the duration.

use crate::support::extended::Folder;
use crate::support::random::Random;
use crate::support::{Deadline, LineClient, PATIENCE, RealServer, Transcript, send_signal};
use serde_json::{Value, json};
use socket2::SockRef;
use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::hash::{Hash, Hasher};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Clients that talk all the time.
const CLIENTS: usize = 8;
/// Default duration.
const SHORT: Duration = Duration::from_secs(10);
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
    server: SocketAddr,
    proxy: SocketAddr,
    /// Whether the faults and the new messages are over.
    is_calm: AtomicBool,
    /// Whether the proxy ends.
    has_ended: AtomicBool,
    /// Id of the last event, which every client must get; 0 until it is known.
    goal: AtomicU64,
    cuts: AtomicU64,
    resumes: AtomicU64,
}

// The proxy

fn run_proxy(world: &Arc<World>, listener: &TcpListener, mut random: Random) {
    for client in listener.incoming() {
        if world.has_ended.load(Ordering::Acquire) {
            return;
        }
        let Ok(client) = client else { continue };
        // Without a server, the connection ends.
        let Ok(server) = TcpStream::connect(world.server) else {
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

// A client

/// A client, and everything that it received.
struct Client {
    number: usize,
    token: Option<String>,
    epoch: String,
    /// Every event; small, because there are millions in an hour.
    events: Vec<Seen>,
    last: u64,
    /// Messages without an acknowledgement, in order.
    unacknowledged: VecDeque<u64>,
    next: u64,
    /// Event id of each message.
    acknowledged: HashMap<u64, u64>,
    random: Random,
}

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

/// Returns the next line; none if no line comes for a moment.
fn next_line(line: &mut LineClient) -> io::Result<Option<Value>> {
    match line.try_next_line(Deadline::after(LISTEN)) {
        Ok(Some(line)) => Ok(Some(serde_json::from_slice(&line).expect("JSON"))),
        Ok(None) => Err(ErrorKind::UnexpectedEof.into()),
        Err(error) if error.kind() == ErrorKind::TimedOut => Ok(None),
        Err(error) => Err(error),
    }
}

fn send_line(line: &mut LineClient, kind: &str, data: &Value) -> io::Result<()> {
    let text = format!("{}\n", json!({"type": kind, "data": data}));
    line.try_send(text.as_bytes())
}

impl Client {
    fn new(number: usize, random: Random) -> Self {
        Client {
            number,
            token: None,
            epoch: String::new(),
            events: Vec::new(),
            last: 0,
            unacknowledged: VecDeque::new(),
            next: 0,
            acknowledged: HashMap::new(),
            random,
        }
    }

    fn run(mut self, world: &World) -> Self {
        while !self.is_done(world) {
            // Every error is a reason to connect again.
            if self.connect_and_talk(world).is_err() {
                thread::sleep(RETRY);
            }
        }
        self
    }

    fn is_done(&self, world: &World) -> bool {
        let goal = world.goal.load(Ordering::Acquire);
        goal > 0 && self.last >= goal && self.unacknowledged.is_empty()
    }

    fn connect_and_talk(&mut self, world: &World) -> io::Result<()> {
        let label = format!("client {}", self.number);
        let stream = TcpStream::connect(world.proxy)?;
        let mut line = LineClient::new(stream, &label, &Transcript::current());
        while next_line(&mut line)?.is_none() {}
        let mut hello = json!({"version": 2, "client": "torture/1"});
        if let Some(token) = &self.token {
            hello["token"] = json!(token);
        }
        if !self.epoch.is_empty() {
            hello["after"] = json!({"epoch": self.epoch, "id": self.last});
        }
        send_line(&mut line, "hello", &hello)?;
        // Lines of the basic dialect can come first.
        let welcome = loop {
            let received = next_line(&mut line)?;
            if let Some(welcome) = received.filter(|line| line["type"] == "welcome") {
                break welcome;
            }
        };
        self.take_welcome(world, &welcome["data"]);
        for message in self.unacknowledged.clone() {
            self.say(&mut line, message)?;
        }
        while !self.is_done(world) {
            if let Some(event) = next_line(&mut line)? {
                self.take(&event);
                continue;
            }
            let is_calm = world.is_calm.load(Ordering::Acquire);
            if !is_calm && self.unacknowledged.len() < MOST_UNACKNOWLEDGED {
                let message = self.next;
                self.next += 1;
                self.unacknowledged.push_back(message);
                self.say(&mut line, message)?;
            }
        }
        Ok(())
    }

    /// Sends a message, sometimes twice.
    fn say(&mut self, line: &mut LineClient, message: u64) -> io::Result<()> {
        let text = format!("{} {message}", self.number);
        let data = json!({"message": text, "nonce": message.to_string()});
        if self.random.happens(5) {
            send_line(line, "message", &data)?;
        }
        send_line(line, "message", &data)
    }

    fn take_welcome(&mut self, world: &World, welcome: &Value) {
        let token = welcome["token"].as_str().expect("a token").to_owned();
        let epoch = welcome["epoch"].as_str().expect("an epoch");
        match &self.token {
            None => {
                self.token = Some(token);
                self.last = welcome["last"].as_u64().expect("a number");
            }
            Some(before) => {
                world.resumes.fetch_add(1, Ordering::Relaxed);
                // A session that has said nothing is forgotten with its connection.
                let is_forgotten = welcome["known"] == false && self.acknowledged.is_empty();
                assert!(token == *before || is_forgotten, "{welcome}");
                assert_eq!(epoch, self.epoch, "the epoch changed");
                let resumed = &welcome["resumed"];
                assert_eq!(resumed["complete"], true, "events are missing: {welcome}");
                self.token = Some(token);
            }
        }
        self.epoch = epoch.to_owned();
    }

    fn take(&mut self, line: &Value) {
        let data = &line["data"];
        match line["type"].as_str().expect("a type") {
            "ack" => {
                let nonce = data["nonce"].as_str().and_then(|nonce| nonce.parse().ok());
                let nonce: u64 = nonce.expect("a nonce of its own");
                let id = data["id"].as_u64().expect("a number");
                let before = self.acknowledged.insert(nonce, id);
                assert!(before.is_none_or(|before| before == id), "two ids");
                self.unacknowledged.retain(|each| *each != nonce);
            }
            "message" | "joined" | "left" | "renamed" => {
                let id = data["id"].as_u64().expect("a number");
                assert_eq!(id, self.last + 1, "a gap or a repeat: {line}");
                self.last = id;
                self.events.push(Seen::of(line));
            }
            "bye" | "notice" => {}
            other => panic!("client {} got {other}: {line}", self.number),
        }
    }
}

// The server

fn start_server(file: &Path, port: u16) -> RealServer {
    let (file, port) = (file.to_str().expect("a plain path"), port.to_string());
    let mut command = RealServer::bare_command(&["--no-web", "--host", "127.0.0.1"]);
    command.args(["--port", &port, "--db", file, "--log", "warn"]);
    RealServer::from_command(command)
}

/// Kills and restarts the server until `end`; returns the last one and the number of restarts.
fn kill_and_start(file: &Path, port: u16, end: Instant, random: &mut Random) -> (RealServer, u32) {
    let mut server = start_server(file, port);
    let mut kills = 0;
    while Instant::now() < end {
        let pause = Duration::from_millis(200 + random.below(2500));
        thread::sleep(pause.min(end.saturating_duration_since(Instant::now())));
        let signal = if random.happens(80) { "KILL" } else { "TERM" };
        send_signal(server.id(), signal);
        server.wait(PATIENCE);
        server.stderr.wait_for_end();
        let told = server.stderr.text();
        assert!(!told.contains("panic") && !told.contains("ERROR"), "{told}");
        kills += 1;
        server = start_server(file, port);
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

fn check(clients: &[Client], stored: &BTreeMap<u64, (String, String)>) {
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
    for client in clients {
        let acknowledged = client.acknowledged.len() as u64;
        assert_eq!(acknowledged, client.next, "not all are acknowledged");
        let prefix = format!("{} ", client.number);
        let mine = stored.iter().filter_map(|(id, (kind, text))| {
            let number = text.strip_prefix(&prefix).filter(|_| kind == "message")?;
            Some((number.parse().expect("a number"), *id))
        });
        let sent = (0..client.next).map(|number| (number, client.acknowledged[&number]));
        assert!(mine.eq(sent), "not once each in order");
    }
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
    // A free port for every run of the server.
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let server = free.local_addr().expect("its address");
    drop(free);
    let proxy = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let world = Arc::new(World {
        server,
        proxy: proxy.local_addr().expect("its address"),
        is_calm: AtomicBool::new(false),
        has_ended: AtomicBool::new(false),
        goal: AtomicU64::new(0),
        cuts: AtomicU64::new(0),
        resumes: AtomicU64::new(0),
    });
    let (proxy_world, proxy_random) = (world.clone(), random.fork());
    thread::spawn(move || run_proxy(&proxy_world, &proxy, proxy_random));
    let transcript = Transcript::start();
    transcript.set_limit(time + 4 * PATIENCE);
    let threads: Vec<_> = (0..CLIENTS)
        .map(|number| {
            let client = Client::new(number, random.fork());
            let (world, transcript) = (world.clone(), transcript.clone());
            thread::spawn(move || {
                transcript.share();
                client.run(&world)
            })
        })
        .collect();
    let end = Instant::now() + time;
    let (mut left, kills) = kill_and_start(&file, server.port(), end, &mut random);
    world.is_calm.store(true, Ordering::Release);
    world.goal.store(settle(&file), Ordering::Release);
    let are_done = || threads.iter().all(|thread| thread.is_finished());
    assert!(
        Deadline::after(2 * PATIENCE).poll(are_done),
        "a client misses events"
    );
    let clients = threads.into_iter().map(|thread| thread.join());
    let clients: Vec<Client> = clients.map(|client| client.expect("no failure")).collect();
    world.has_ended.store(true, Ordering::Release);
    send_signal(left.id(), "TERM");
    assert_eq!(left.wait(PATIENCE).code(), Some(0));
    let stored = stored(&file);
    check(&clients, &stored);
    eprintln!(
        "{kills} ends of the server, {} broken links, {} resumes, {} events, {} messages",
        world.cuts.load(Ordering::Relaxed),
        world.resumes.load(Ordering::Relaxed),
        stored.len(),
        clients.iter().map(|client| client.next).sum::<u64>(),
    );
    assert!(world.resumes.load(Ordering::Relaxed) > 0 && kills > 0);
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
