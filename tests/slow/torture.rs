//! Links that are cut, stalled and reset at random, and a server that is killed and started again
//! at random: at the end everyone has every message once, in one and the same order, and so has
//! the database.
//!
//! What happens follows from a seed, which is printed: `SMOLCHAT_TORTURE_SEED` takes it again, as
//! far as the machine lets things happen at the same moments, and `SMOLCHAT_TORTURE_SECONDS` lets
//! it run longer than a short while.

use crate::support::extended::Folder;
use crate::support::random::Random;
use crate::support::{PATIENCE, RealServer, send_signal};
use serde_json::{Value, json};
use socket2::SockRef;
use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::hash::{Hash, Hasher};
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// Clients that talk all the time.
const CLIENTS: usize = 8;
/// How long it runs unless something else is asked for.
const SHORT: Duration = Duration::from_secs(10);
/// Messages that a client has on their way at most.
const MOST_UNACKNOWLEDGED: usize = 20;
/// How long a client listens before it looks whether it has something to say.
const LISTEN: Duration = Duration::from_millis(5);
/// How long it waits before it tries again to connect.
const RETRY: Duration = Duration::from_millis(20);

/// What all threads see.
struct World {
    /// Where the server is.
    server: SocketAddr,
    /// Where the proxy is.
    proxy: SocketAddr,
    /// From now on nothing is broken, and nobody says anything new.
    is_calm: AtomicBool,
    /// From now on nobody listens any more.
    has_ended: AtomicBool,
    /// The last number of an event that everybody must have, once that is known.
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
        // Where there is no server, the link just ends.
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

/// Passes bytes on until one side ends, or the link breaks after so many bytes.
fn relay(world: &World, mut from: TcpStream, mut to: TcpStream, mut random: Random) {
    // A link lasts for some hundred bytes, or for some thousand.
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
        // In two parts, so that lines are torn.
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
            // Who is gone already cannot be reset.
            let _ = SockRef::from(side).set_linger(Some(Duration::ZERO));
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}

// A client

/// A client, and everything that it ever got.
struct Client {
    number: usize,
    token: Option<String>,
    epoch: String,
    /// Every event that it got, one after the other; for an hour they have to be small.
    events: Vec<Seen>,
    last: u64,
    /// What was said and is not acknowledged yet, in order.
    unacknowledged: VecDeque<u64>,
    next: u64,
    /// Under which number each message is said.
    acknowledged: HashMap<u64, u64>,
    random: Random,
}

/// An event, as far as it is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seen {
    /// Of the whole line: it is the same for everyone.
    line: u64,
    /// Of its type and text: they are those of the database.
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

/// Why a connection ended: each is a reason to connect again.
struct Broken;

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

    fn text(&self, message: u64) -> String {
        format!("{} {message}", self.number)
    }

    fn run(mut self, world: &World) -> Self {
        while !self.is_done(world) {
            if let Err(Broken) = self.connect_and_talk(world) {
                thread::sleep(RETRY);
            }
        }
        self
    }

    fn is_done(&self, world: &World) -> bool {
        let goal = world.goal.load(Ordering::Acquire);
        goal > 0 && self.last >= goal && self.unacknowledged.is_empty()
    }

    fn connect_and_talk(&mut self, world: &World) -> Result<(), Broken> {
        let stream = TcpStream::connect(world.proxy).map_err(|_| Broken)?;
        stream.set_nodelay(true).map_err(|_| Broken)?;
        stream.set_read_timeout(Some(LISTEN)).map_err(|_| Broken)?;
        stream
            .set_write_timeout(Some(PATIENCE))
            .map_err(|_| Broken)?;
        let mut lines = Lines::new(stream);
        while lines.next()?.is_none() {}
        let mut hello = json!({"version": 2, "client": "torture/1"});
        if let Some(token) = &self.token {
            hello["token"] = json!(token);
        }
        if !self.epoch.is_empty() {
            hello["after"] = json!({"epoch": self.epoch, "id": self.last});
        }
        lines.send("hello", &hello)?;
        loop {
            match lines.next()? {
                Some(line) if line["type"] == "welcome" => {
                    self.take_welcome(world, &line["data"]);
                    break;
                }
                // What was said while it was still basic; or that there is no room.
                Some(_) | None => {}
            }
        }
        // What may not have arrived is said again, in order.
        for message in self.unacknowledged.clone() {
            self.send(&mut lines, message)?;
        }
        while !self.is_done(world) {
            if let Some(line) = lines.next()? {
                self.take(&line);
                continue;
            }
            let is_calm = world.is_calm.load(Ordering::Acquire);
            if !is_calm && self.unacknowledged.len() < MOST_UNACKNOWLEDGED {
                let message = self.next;
                self.next += 1;
                self.unacknowledged.push_back(message);
                self.send(&mut lines, message)?;
            }
        }
        Ok(())
    }

    fn send(&mut self, lines: &mut Lines, message: u64) -> Result<(), Broken> {
        let text = self.text(message);
        let data = json!({"message": text, "nonce": message.to_string()});
        if self.random.happens(5) {
            lines.send("message", &data)?;
        }
        lines.send("message", &data)
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
                assert_eq!(token, *before, "the token is not known any more");
                assert_eq!(epoch, self.epoch, "the past is another");
                let resumed = &welcome["resumed"];
                assert_eq!(resumed["complete"], true, "something is missing: {welcome}");
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
                assert!(
                    before.is_none_or(|before| before == id),
                    "acknowledged as another"
                );
                self.unacknowledged.retain(|each| *each != nonce);
            }
            "message" | "joined" | "left" | "renamed" => {
                let id = data["id"].as_u64().expect("a number");
                assert_eq!(
                    id,
                    self.last + 1,
                    "client {}: a gap or a repeat",
                    self.number
                );
                self.last = id;
                self.events.push(Seen::of(line));
            }
            "bye" | "notice" => {}
            other => panic!("client {} got {other}: {line}", self.number),
        }
    }
}

/// The lines of a connection.
struct Lines {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Lines {
    fn new(stream: TcpStream) -> Self {
        Lines {
            stream,
            buffer: Vec::new(),
        }
    }

    fn send(&mut self, kind: &str, data: &Value) -> Result<(), Broken> {
        let line = format!("{}\n", json!({"type": kind, "data": data}));
        self.stream.write_all(line.as_bytes()).map_err(|_| Broken)
    }

    /// The next line; none if none comes for a moment.
    fn next(&mut self) -> Result<Option<Value>, Broken> {
        loop {
            if let Some(end) = self.buffer.iter().position(|&byte| byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                return Ok(Some(serde_json::from_slice(&line).expect("JSON")));
            }
            let mut chunk = [0; 16 * 1024];
            match self.stream.read(&mut chunk) {
                Ok(0) => return Err(Broken),
                Ok(count) => self.buffer.extend_from_slice(&chunk[..count]),
                Err(error) if is_silence(error.kind()) => return Ok(None),
                Err(_) => return Err(Broken),
            }
        }
    }
}

fn is_silence(kind: ErrorKind) -> bool {
    [
        ErrorKind::WouldBlock,
        ErrorKind::TimedOut,
        ErrorKind::Interrupted,
    ]
    .contains(&kind)
}

// The server

fn start_server(file: &Path, port: u16) -> RealServer {
    let (file, port) = (file.to_str().expect("a plain path"), port.to_string());
    let mut command = RealServer::bare_command(&["--no-web", "--host", "127.0.0.1"]);
    command.args(["--port", &port, "--db", file, "--log", "warn"]);
    RealServer::from_command(command)
}

/// Kills and starts the server until the time is over; gives the one that is left, and how often.
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

/// The messages of the database, by their numbers.
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
        Ok((
            u64::try_from(id).expect("a number"),
            (row.get(1)?, row.get(2)?),
        ))
    });
    rows.expect("rows").map(|row| row.expect("a row")).collect()
}

fn check(clients: &[Client], stored: &BTreeMap<u64, (String, String)>) {
    let ids: Vec<u64> = stored.keys().copied().collect();
    let all: Vec<u64> = (1..=ids.len() as u64).collect();
    assert_eq!(ids, all, "the database has a gap");
    let mut lines: Vec<Option<u64>> = vec![None; ids.len() + 1];
    for client in clients {
        // Their numbers follow each other, which was looked at when they came.
        let first = client.last + 1 - client.events.len() as u64;
        for (id, seen) in (first..).zip(&client.events) {
            let (kind, text) = &stored[&id];
            assert_eq!(seen.content, content(kind, text), "event {id} is another");
            let index = usize::try_from(id).expect("few events");
            let same = *lines[index].get_or_insert(seen.line);
            assert_eq!(seen.line, same, "event {id} is not the same for everyone");
        }
    }
    for client in clients {
        assert_eq!(
            client.acknowledged.len() as u64,
            client.next,
            "all are acknowledged"
        );
        let prefix = format!("{} ", client.number);
        let mine = stored.iter().filter_map(|(id, (kind, text))| {
            let number = text.strip_prefix(&prefix).filter(|_| kind == "message")?;
            Some((number.parse().expect("a number"), *id))
        });
        let mine: Vec<(u64, u64)> = mine.collect();
        let expected = (0..client.next).map(|number| (number, client.acknowledged[&number]));
        assert_eq!(
            mine,
            expected.collect::<Vec<_>>(),
            "each once, in the order of saying"
        );
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
    // A port that is free, for a server that comes and goes.
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
    let done = Arc::new(Mutex::new(Vec::new()));
    let threads: Vec<_> = (0..CLIENTS)
        .map(|number| {
            let client = Client::new(number, random.fork());
            let (world, done) = (world.clone(), done.clone());
            thread::spawn(move || {
                let client = client.run(&world);
                done.lock().expect("no other failed").push(client);
            })
        })
        .collect();
    let end = Instant::now() + time;
    let (mut left, kills) = kill_and_start(&file, server.port(), end, &mut random);
    world.is_calm.store(true, Ordering::Release);
    let goal = settle(&file);
    world.goal.store(goal, Ordering::Release);
    for thread in threads {
        thread.join().expect("a client is content");
    }
    world.has_ended.store(true, Ordering::Release);
    let clients = std::mem::take(&mut *done.lock().expect("no other failed"));
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

/// Waits until nothing new is stored for a while; gives the number of the newest event.
fn settle(file: &Path) -> u64 {
    let database = rusqlite::Connection::open(file).expect("the database");
    let newest = || -> i64 {
        database
            .query_row("SELECT max(id) FROM events", [], |row| row.get(0))
            .expect("a number")
    };
    let mut last = newest();
    let mut since = Instant::now();
    let end = Instant::now() + PATIENCE;
    while since.elapsed() < QUIET && Instant::now() < end {
        thread::sleep(RETRY);
        let now = newest();
        if now != last {
            (last, since) = (now, Instant::now());
        }
    }
    u64::try_from(last).expect("a number")
}

/// Nobody says anything new, so what comes after such a silence is only of those who end.
const QUIET: Duration = Duration::from_secs(1);
