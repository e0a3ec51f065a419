//! Five hundred clients that come, talk, rename, stall, break off and leave at random, and a
//! model that knows at every line what has to come.
//!
//! All clients live in one thread, so that the machine belongs to the server. What they do
//! follows from a seed, which is printed: `SMOLCHAT_SOAK_SEED` repeats it, and
//! `SMOLCHAT_SOAK_SECONDS` lets it run longer than a short while. In every round the five
//! hundred are there at the same time once, and everybody has left at the end.

use crate::support::one_log::{Book, End, Reader, Request, text_of};
use crate::support::random::Random;
use crate::support::{PATIENCE, RealServer, request, skip};
use smol::future::or;
use smol::io::AsyncWriteExt;
use smol::{Async, LocalExecutor, Timer};
use smolchat::limits::DEFAULT_MAX_MESSAGE_BYTES;
use smolchat::server::limits::{DEFAULT_BURST_LINES, DEFAULT_MAX_LAG_BYTES, MAX_BATCH_BYTES};
use socket2::{Domain, SockRef, Socket, Type};
use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::io::{ErrorKind, Read};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::pin::pin;
use std::process::Stdio;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// Clients who are there at the same time.
const CLIENTS: usize = 500;
/// How long it runs unless something else is asked for.
const SHORT: Duration = Duration::from_secs(15);
/// How long one round may take, on a machine that has other things to do.
const ROUND_LIMIT: Duration = Duration::from_secs(180);
/// Receive buffer of the narrow clients, in bytes.
const NARROW: usize = 8 * 1024;
/// Their longest segment, in bytes.
#[cfg(unix)]
const SEGMENT: u32 = 600;
/// Messages that the server keeps.
const KEPT_MESSAGES: usize = 40;
/// Bytes of the log in a round after which nobody says anything more.
///
/// It is less than half of the lag that is allowed, so the server closes nobody for being slow,
/// and what a client gets is known to the end.
const ROUND_BYTES: usize = 1_500_000;
/// Names for which the clients compete: about as many as there are clients, so many are taken.
const NAMES: u64 = 400;
/// What the server may hold at the end beyond what it held after the first round, when its log
/// was full: what its allocator keeps, and nothing for each connection that was there.
const MEMORY_GROWTH: u64 = 4 * 1024 * 1024;

/// What was done.
#[derive(Debug, Default)]
struct Done {
    rounds: Cell<u64>,
    connections: Cell<u64>,
    messages: Cell<u64>,
    requests: Cell<u64>,
    stalls: Cell<u64>,
    resets: Cell<u64>,
    half_closes: Cell<u64>,
    lines: Cell<u64>,
    log_lines: Cell<u64>,
}

fn count(counter: &Cell<u64>, by: u64) {
    counter.set(counter.get() + by);
}

/// What the clients of a round share.
struct Round {
    server: SocketAddr,
    book: RefCell<Book>,
    /// Connections that came so far from each address.
    ordinals: RefCell<HashMap<String, usize>>,
    ended: RefCell<Vec<Reader>>,
    /// Connections that are open.
    open: Cell<usize>,
    /// Whether a client has failed, which the executor tells nobody.
    has_failed: Cell<bool>,
    /// Clients who are at the meeting point.
    met: Cell<usize>,
    /// Closed when all may go on from there.
    meeting: smol::channel::Receiver<()>,
    done: Rc<Done>,
    next_id: Rc<Cell<usize>>,
    /// Where every client reads to; none holds it while it waits.
    buffer: RefCell<Vec<u8>>,
}

/// One connection.
struct Client {
    round: Rc<Round>,
    stream: Async<TcpStream>,
    reader: Reader,
    random: Random,
}

mod client;

impl Drop for Client {
    fn drop(&mut self) {
        if self.reader.end == End::Open {
            self.round.has_failed.set(true);
        }
        let nobody = Reader::new(usize::MAX, String::new(), 0);
        let reader = std::mem::replace(&mut self.reader, nobody);
        self.round.open.set(self.round.open.get() - 1);
        self.round.ended.borrow_mut().push(reader);
    }
}

/// Where the whole of 127.0.0.0/8 is this machine, every connection gets an address that no other
/// has: a port may be used again at once after a reset, sooner than the server notices the end.
fn bind_to_own_address(socket: &Socket, id: usize) {
    if cfg!(target_os = "linux") {
        let number = u32::from(Ipv4Addr::new(127, 1, 0, 0)) + id as u32;
        let address = SocketAddr::from((Ipv4Addr::from(number), 0));
        socket.bind(&address.into()).expect("a loopback address");
    }
}

/// The connections of one client in a round, one after the other.
async fn live(round: Rc<Round>, mut random: Random) {
    Timer::after(Duration::from_millis(random.below(1000))).await;
    for _ in 0..random.below(3) {
        visit(&round, &mut random).await;
    }
    let mut client = Client::connect(&round, random.fork()).await;
    client.read_answers().await;
    for _ in 0..random.below(3) {
        client.act().await;
    }
    let sleeps = random.happens(5);
    if !sleeps {
        client.read_answers().await;
    }
    round.met.set(round.met.get() + 1);
    let meeting = round.meeting.clone();
    let all_met = async move {
        // It is closed when all may go on; nothing is ever sent.
        let _ = meeting.recv().await;
    };
    if sleeps {
        all_met.await;
    } else {
        client.read_until(all_met).await;
    }
    for _ in 0..random.below(3) {
        client.act().await;
    }
    client.end().await;
    if random.happens(50) {
        visit(&round, &mut random).await;
    }
}

/// A connection of which nobody knows how long it lasts.
async fn visit(round: &Rc<Round>, random: &mut Random) {
    let mut client = Client::connect(round, random.fork()).await;
    match random.below(10) {
        // Gone before it could read its own arrival.
        0 => client.break_off().await,
        // As `printf … | nc` does it.
        1 => {
            client.send(10).await;
            client.half_close().await;
        }
        _ => {
            client.read_answers().await;
            for _ in 0..random.below(4) {
                client.act().await;
            }
            client.end().await;
        }
    }
}

/// Who is there all the time and fills the book.
struct Observer {
    stream: Async<TcpStream>,
    address: String,
    unfinished: Vec<u8>,
    /// Who is here, as it was told last.
    told: Option<String>,
}

impl Observer {
    async fn connect(round: &Round) -> Self {
        let stream = Async::<TcpStream>::connect(round.server).await;
        let stream = stream.expect("the observer connects");
        let address = stream.get_ref().local_addr().expect("an address");
        let mut this = Observer {
            stream,
            address: address.to_string(),
            unfinished: Vec::new(),
            told: None,
        };
        while round.book.borrow().is_empty() {
            assert!(this.read(round).await, "the observer was closed");
        }
        this
    }

    /// Reads once; false at the end of the stream.
    async fn read(&mut self, round: &Round) -> bool {
        assert!(!round.has_failed.get(), "a client failed: see above");
        self.stream.readable().await.expect("it can be awaited");
        let mut buffer = round.buffer.borrow_mut();
        let count = match self.stream.get_ref().read(&mut buffer) {
            Ok(0) => return false,
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            Err(error) => panic!("the observer cannot read: {error}"),
        };
        self.unfinished.extend_from_slice(&buffer[..count]);
        let end = self.unfinished.iter().rposition(|&byte| byte == b'\n');
        let rest = self.unfinished.split_off(end.map_or(0, |end| end + 1));
        let lines = std::mem::replace(&mut self.unfinished, rest);
        let mut book = round.book.borrow_mut();
        for line in lines.split_inclusive(|&byte| byte == b'\n') {
            if let Some(told) = book.append(line) {
                self.told = Some(told);
            }
        }
        true
    }

    /// Reads until something else has happened.
    async fn read_until(&mut self, round: &Round, mut happened: impl FnMut() -> bool) {
        while !happened() {
            let reading = self.read(round);
            let pause = async {
                Timer::after(Duration::from_millis(5)).await;
                true
            };
            assert!(or(reading, pause).await, "the observer was closed");
        }
    }

    /// Asks who is here until so many are. Who broke off is noticed a moment later.
    async fn wait_for_users(&mut self, round: &Round, number: usize) {
        let expected = format!("Connected users ({number}): ");
        loop {
            self.told = None;
            (&self.stream)
                .write_all(&request("users", ""))
                .await
                .expect("the server takes it");
            while self.told.is_none() {
                assert!(self.read(round).await, "the observer was closed");
            }
            if self
                .told
                .as_ref()
                .is_some_and(|told| told.starts_with(&expected))
            {
                return;
            }
            Timer::after(Duration::from_millis(20)).await;
        }
    }
}

/// One round; gives the messages that the server keeps.
async fn play(
    executor: &LocalExecutor<'_>,
    server: SocketAddr,
    past: VecDeque<Vec<u8>>,
    random: &mut Random,
    done: &Rc<Done>,
    next_id: &Rc<Cell<usize>>,
) -> VecDeque<Vec<u8>> {
    let (go_on, meeting) = smol::channel::bounded(1);
    let round = Rc::new(Round {
        server,
        book: RefCell::new(Book::new(KEPT_MESSAGES, past)),
        ordinals: RefCell::default(),
        ended: RefCell::default(),
        open: Cell::new(0),
        has_failed: Cell::new(false),
        met: Cell::new(0),
        meeting,
        done: done.clone(),
        next_id: next_id.clone(),
        buffer: RefCell::new(vec![0; 64 * 1024]),
    });
    let mut observer = Observer::connect(&round).await;
    let running = Rc::new(Cell::new(CLIENTS));
    for _ in 0..CLIENTS {
        let (living, running) = (live(round.clone(), random.fork()), running.clone());
        let task = executor.spawn(async move {
            living.await;
            running.set(running.get() - 1);
        });
        // A failure in it ends the test, since the executor passes it on.
        task.detach();
    }
    observer
        .read_until(&round, || round.met.get() == CLIENTS)
        .await;
    assert_eq!(round.open.get(), CLIENTS);
    observer.wait_for_users(&round, CLIENTS + 1).await;
    drop(go_on);
    observer.read_until(&round, || running.get() == 0).await;
    assert_eq!(round.open.get(), 0);
    observer.wait_for_users(&round, 1).await;
    let address = observer.address.clone();
    drop(observer);
    let round = Rc::into_inner(round).expect("all clients have ended");
    let (book, mut readers) = (round.book.into_inner(), round.ended.into_inner());
    count(&done.log_lines, book.len() as u64);
    let past = book.close(&address, &mut readers);
    count(&done.lines, readers.iter().map(|reader| reader.lines).sum());
    count(&done.rounds, 1);
    past
}

/// Fills the log of the server, so that it takes its memory before it is measured; gives the
/// messages that the server keeps.
fn fill_the_log(server: &RealServer) -> VecDeque<Vec<u8>> {
    let mut kept = VecDeque::new();
    let mut filled = 0;
    while filled < DEFAULT_MAX_LAG_BYTES + MAX_BATCH_BYTES {
        let mut client = server.connect("filler");
        let lines = DEFAULT_BURST_LINES as usize;
        let text = "x".repeat(DEFAULT_MAX_MESSAGE_BYTES);
        client.send_raw(&request("message", &text).repeat(lines));
        for _ in 0..lines {
            let line = client.next_line().expect("an echo");
            filled += line.len();
            kept.push_back(line);
        }
        kept.drain(..kept.len() - KEPT_MESSAGES);
        client.finish_sending();
        client.expect_end();
    }
    kept
}

fn time_to_run() -> Duration {
    let Ok(text) = std::env::var("SMOLCHAT_SOAK_SECONDS") else {
        return SHORT;
    };
    let seconds = text.parse();
    Duration::from_secs(seconds.unwrap_or_else(|_| {
        panic!("SMOLCHAT_SOAK_SECONDS is {text:?}, not a whole number of seconds")
    }))
}

#[test]
#[ignore = "slow"]
fn five_hundred_random_clients_share_a_log_and_free_everything() {
    rlimit::increase_nofile_limit(u64::MAX).expect("the limit of open files can be raised");
    let seed = Random::seed_from("SMOLCHAT_SOAK_SEED");
    let mut random = Random::new(seed);
    let threads = random.one_of(&["1", "4"]);
    println!("SMOLCHAT_SOAK_SEED={seed}, --threads {threads}");
    let time = time_to_run();
    let kept_messages = KEPT_MESSAGES.to_string();
    let mut command = RealServer::command(&[
        "--no-web",
        "--threads",
        threads,
        "--announce-limit",
        "100000",
        "--history",
        &kept_messages,
    ]);
    command.stdout(Stdio::null());
    let mut server = RealServer::from_command(command);
    server.transcript.set_limit(time + ROUND_LIMIT * 2);
    let done = Rc::new(Done::default());
    let next_id = Rc::new(Cell::new(0));
    let begin = Instant::now();
    let mut past = fill_the_log(&server);
    let mut memory = Vec::new();
    let executor = LocalExecutor::new();
    // The first round warms up: without a second there is nothing to compare.
    while memory.len() < 2 || begin.elapsed() < time {
        let playing = play(
            &executor,
            server.address,
            past,
            &mut random,
            &done,
            &next_id,
        );
        let limited = or(async { Some(playing.await) }, async {
            Timer::after(ROUND_LIMIT).await;
            None
        });
        past = smol::block_on(executor.run(limited)).unwrap_or_else(|| {
            panic!("a round took longer than {ROUND_LIMIT:?}; the seed is {seed}: {done:?}")
        });
        memory.push(server.memory_bytes());
        assert!(server.is_running(), "the server ended");
    }
    let end = memory.last().copied().flatten();
    println!(
        "soak: {:?}, {} rounds of {CLIENTS} clients; {} connections, {} requests, {} of them messages; \
         {} stalls, {} resets, {} half-closes; {} lines of the log, {} lines checked; \
         memory {:?} bytes after the first round, {end:?} at the end",
        begin.elapsed(),
        done.rounds.get(),
        done.connections.get(),
        done.requests.get(),
        done.messages.get(),
        done.stalls.get(),
        done.resets.get(),
        done.half_closes.get(),
        done.log_lines.get(),
        done.lines.get(),
        memory[0],
    );
    let (Some(first), Some(end)) = (memory[0], end) else {
        return skip("this system does not tell the memory of a process");
    };
    assert!(
        end <= first + MEMORY_GROWTH,
        "the memory of the server grew by more than {MEMORY_GROWTH} bytes: {memory:?}"
    );
    server.signal("TERM");
    assert!(server.wait(PATIENCE).success());
}
