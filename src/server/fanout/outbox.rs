//! What one connection is still to be sent, and the order of it.
//!
//! What lives here: [`Outbox`], a position in the log with replies that have their place
//! between its bytes, and how it is written to anything that takes bytes without blocking.
//! The broker uses it for a client with a reply, the catching-up task for a client that is
//! behind; one of them at a time owns it. It must never wait, never reorder, and never copy
//! what others share.

use crate::chat::SERVER_SOURCE;
use crate::chat::message::Message;
use crate::chat::username::Username;
use crate::protocol::{Dialect, basic, extended};
use crate::server::fanout::broadcast_log::{BroadcastLogs, PerDialect, Slice, TooFarBehind};
use crate::server::limits::{
    MAX_BYTES_PER_TURN, MAX_BYTES_PER_WRITE, MAX_SLICES_PER_WRITE, REPLY_PIECE_BYTES,
};
use crate::server::snapshot::CachedDocument;
use jiff::Timestamp;
use std::collections::VecDeque;
use std::io::{self, IoSlice, Write};
use std::sync::Arc;

/// A reply with its place.
#[derive(Debug)]
pub struct QueuedReply {
    /// The position of the log after which it stands: that of the dialect in which the client is
    /// spoken with when the reply's turn comes.
    pub at: u64,
    /// Bytes of the log after it that this reader does not get.
    pub skip: u64,
    /// What is said.
    pub content: ReplyBody,
}

/// What a reply says, encoded piece by piece as the socket takes it.
#[derive(Debug)]
pub enum ReplyBody {
    /// These bytes, which many may share.
    Bytes(Arc<[u8]>),
    /// The lines of these messages, from the index on.
    History(Vec<Arc<Message>>, usize),
    /// One line with these users, from the index on.
    Users(Arc<[(Username, Timestamp)]>, usize),
    /// A text of the page.
    Document(Arc<CachedDocument>),
    /// From here on the client is spoken with in this dialect.
    Begin(StreamStart),
    /// Nothing more.
    Empty,
}

/// Where a client's stream of public events begins, or goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamStart {
    /// In this dialect.
    pub dialect: Dialect,
    /// From this position of the log on.
    pub position: u64,
    /// What stands before this position was missed, and does not count as being behind.
    pub live_from: u64,
    /// What comes before the first position, from the store.
    pub stored: Option<StoredRange>,
}

/// Public events that come from the store: those after one, up to another and with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredRange {
    /// Number of the event that the client has.
    pub after: u64,
    /// Number of the last one.
    pub until: u64,
}

/// How a stream ends that is given up.
#[derive(Clone, Debug)]
pub struct Eviction {
    /// The last line.
    pub farewell: Arc<[u8]>,
    /// What was left of the line at this position of the log when it was decided: before the
    /// socket takes something again, the log may be far beyond it.
    pub rest: Option<(LogPosition, Arc<[u8]>)>,
}

/// A position in the log of a dialect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogPosition {
    /// The dialect.
    pub dialect: Dialect,
    /// The position.
    pub position: u64,
}

impl LogPosition {
    /// What is left of the line here, if that is kept.
    pub fn rest_of_line(self, logs: &BroadcastLogs) -> Option<Arc<[u8]>> {
        logs[self.dialect].rest_of_line(self.position)
    }
}

impl Eviction {
    /// What is left of the line at this place, if that is known here.
    fn rest_from(&self, place: LogPosition) -> Option<Arc<[u8]>> {
        let (known, rest) = self.rest.as_ref()?;
        if known.dialect != place.dialect {
            return None;
        }
        let (start, position) = (known.position, place.position);
        let written = usize::try_from(position.checked_sub(start)?).ok()?;
        rest.get(written..).map(Arc::from)
    }
}

/// Bytes that are being written.
#[derive(Debug)]
enum Piece {
    Own(Arc<[u8]>),
    Document(Arc<CachedDocument>),
}

impl Piece {
    fn bytes(&self) -> &[u8] {
        match self {
            Piece::Own(bytes) => bytes,
            Piece::Document(document) => document.text().as_bytes(),
        }
    }
}

/// How far a writing came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Everything up to the head of the log is written.
    CaughtUp,
    /// Everything up to the end of this connection is written.
    Finished,
    /// The socket takes no more at the moment.
    Blocked,
    /// There is more to write, but others should have their turn.
    Yield,
    /// What comes next is not in the log any more.
    FellOut,
    /// What comes next is to be fetched from the store.
    NeedsStored(StoredRange),
}

/// What is still to be sent, in order.
#[derive(Debug)]
pub struct Outbox {
    dialect: Dialect,
    position: u64,
    /// Before this position nothing counts as being behind.
    live_from: u64,
    /// What comes from the store before the log goes on.
    stored: Option<StoredRange>,
    replies: VecDeque<QueuedReply>,
    piece: Option<(Piece, usize)>,
    /// Whether the last byte that was written of the replies is inside a line.
    is_inside_reply: bool,
    end: Option<LogPosition>,
    written: u64,
    /// Bytes and line ends written that [`Outbox::take_figures`] has not told yet.
    figures: (u64, u64),
    answer_due: bool,
}

impl Outbox {
    /// A connection that has everything before this position of the log of its dialect.
    pub fn new(place: LogPosition) -> Self {
        Outbox {
            dialect: place.dialect,
            position: place.position,
            live_from: match place.dialect {
                // What a stream of the page begins with is no delay of its reader.
                Dialect::Page => place.position,
                _ => 0,
            },
            stored: None,
            replies: VecDeque::new(),
            piece: None,
            is_inside_reply: false,
            end: None,
            written: 0,
            figures: (0, 0),
            answer_due: false,
        }
    }

    /// The place up to which everything is written.
    pub fn place(&self) -> LogPosition {
        LogPosition {
            dialect: self.dialect,
            position: self.position,
        }
    }

    /// The position of the log before which nothing counts as being behind.
    pub fn live_from(&self) -> u64 {
        self.live_from
    }

    /// Bytes written since it was made.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Bytes and line ends written since this was last asked.
    pub fn take_figures(&mut self) -> (u64, u64) {
        std::mem::take(&mut self.figures)
    }

    /// Adds a reply; its place is not before that of an earlier one.
    pub fn add(&mut self, reply: QueuedReply) {
        if self.replies.is_empty() {
            // Mostly there is one, and thousands may have theirs at the same time.
            self.replies.reserve_exact(1);
        }
        self.replies.push_back(reply);
    }

    /// Where in the log the client changes to another dialect, and how, if that is to come.
    pub fn change_of_dialect(&self) -> Option<(u64, StreamStart)> {
        self.replies.iter().find_map(|reply| match reply.content {
            ReplyBody::Begin(start) => Some((reply.at, start)),
            _ => None,
        })
    }

    /// Ends this connection's stream at this place, replies there included.
    pub fn end_at(&mut self, place: LogPosition) {
        self.end = Some(place);
    }

    /// Takes in what was fetched from the store, whole lines: the events after
    /// [`StoredRange::after`], up to and with this one.
    pub fn give_stored(&mut self, lines: Arc<[u8]>, last: u64) {
        if let Some(stored) = &mut self.stored {
            stored.after = last;
            self.piece = Some((Piece::Own(lines), 0));
        }
    }

    /// Notes that the client waits for its replies before it sends on.
    pub fn expect_answer(&mut self) {
        self.answer_due = true;
    }

    /// Whether all replies are written and the client waits for that; true once.
    pub fn take_answered(&mut self) -> bool {
        !self.has_replies() && std::mem::take(&mut self.answer_due)
    }

    /// Whether the connection's stream has an end.
    pub fn has_end(&self) -> bool {
        self.end.is_some()
    }

    /// Whether everything up to the end of this connection is written.
    pub fn is_finished(&self) -> bool {
        !self.has_replies() && self.is_at_end()
    }

    /// Whether the end is here. One in another dialect is not reached before that has begun.
    fn is_at_end(&self) -> bool {
        self.stored.is_none() && self.end_here().is_some_and(|end| end <= self.position)
    }

    fn end_here(&self) -> Option<u64> {
        let end = self.end?;
        (end.dialect == self.dialect).then_some(end.position)
    }

    /// Whether a reply is not yet wholly written.
    pub fn has_replies(&self) -> bool {
        self.piece.is_some() || !self.replies.is_empty()
    }

    /// Gives up everything but the line that is partly written, and says the last line.
    ///
    /// Where the rest of that line is not at hand, the stream ends without a farewell: a line
    /// is never cut by another.
    pub fn cut(&mut self, logs: &BroadcastLogs, cut: &Eviction) {
        let place = self.place();
        let rest = match self.finish_reply_line() {
            None => {
                self.piece = None;
                None
            }
            Some(true) => Some(Arc::default()),
            Some(false) => cut.rest_from(place).or_else(|| place.rest_of_line(logs)),
        };
        self.stored = None;
        self.end = Some(place);
        let Some(rest) = rest else {
            return;
        };
        let both = [rest, cut.farewell.clone()];
        for bytes in both.into_iter().filter(|bytes| !bytes.is_empty()) {
            self.replies.push_back(QueuedReply {
                at: self.position,
                skip: 0,
                content: ReplyBody::Bytes(bytes),
            });
        }
    }

    /// Drops all replies but the line that is partly written. True if such a line remains,
    /// none if its end is not at hand.
    fn finish_reply_line(&mut self) -> Option<bool> {
        self.replies.clear();
        if !self.is_inside_reply {
            self.piece = None;
            return Some(false);
        }
        let (piece, _) = self.piece.as_ref()?;
        piece.bytes().ends_with(b"\n").then_some(true)
    }

    /// Writes as much as `socket` takes, up to the heads and for one turn.
    ///
    /// Replies must be added before a log is published beyond their place, and `heads` be
    /// taken before replies that arrive meanwhile are added: then none is passed over.
    ///
    /// # Errors
    /// The connection is broken.
    pub fn write(
        &mut self,
        logs: &BroadcastLogs,
        heads: PerDialect<u64>,
        socket: &mut impl Write,
    ) -> io::Result<Progress> {
        let turn_end = self.written + MAX_BYTES_PER_TURN as u64;
        let mut slices = Vec::new();
        loop {
            if self.written >= turn_end {
                return Ok(Progress::Yield);
            }
            if self.piece.is_some() {
                if !self.write_piece(socket)? {
                    return Ok(Progress::Blocked);
                }
                continue;
            }
            if let Some(stored) = self.stored {
                if stored.after < stored.until {
                    return Ok(Progress::NeedsStored(stored));
                }
                self.stored = None;
            }
            let stop = self.next_stop(heads[self.dialect]);
            if self.position < stop {
                slices.clear();
                let read = logs[self.dialect].read(
                    self.position,
                    stop,
                    MAX_SLICES_PER_WRITE,
                    MAX_BYTES_PER_WRITE,
                    &mut slices,
                );
                if read == Err(TooFarBehind) {
                    return Ok(Progress::FellOut);
                }
                if !self.write_slices(&slices, socket)? {
                    return Ok(Progress::Blocked);
                }
            } else if self
                .replies
                .front()
                .is_some_and(|reply| reply.at <= self.position)
            {
                self.take_piece();
            } else if self.is_at_end() {
                return Ok(Progress::Finished);
            } else {
                return Ok(Progress::CaughtUp);
            }
        }
    }

    /// Where reading the log stops: at the next reply, the end or the head.
    fn next_stop(&self, head: u64) -> u64 {
        let reply = self.replies.front().map_or(u64::MAX, |reply| reply.at);
        head.min(reply).min(self.end_here().unwrap_or(u64::MAX))
    }

    /// Takes the next piece of the first reply, and drops the reply when there is none.
    fn take_piece(&mut self) {
        let Some(reply) = self.replies.front_mut() else {
            return;
        };
        if let ReplyBody::Begin(start) = reply.content {
            self.replies.pop_front();
            self.begin(start);
            return;
        }
        match next_piece(&mut reply.content, self.dialect) {
            Some(piece) => self.piece = Some((piece, 0)),
            None => {
                self.position += reply.skip;
                self.replies.pop_front();
            }
        }
    }

    fn begin(&mut self, start: StreamStart) {
        self.dialect = start.dialect;
        self.position = start.position;
        self.live_from = start.live_from;
        self.stored = start.stored;
    }

    /// Writes of the piece; false if the socket takes no more.
    fn write_piece(&mut self, socket: &mut impl Write) -> io::Result<bool> {
        let Some((piece, done)) = &mut self.piece else {
            return Ok(true);
        };
        let rest = &piece.bytes()[*done..];
        let length = rest.len();
        let count = write_some(socket, &[IoSlice::new(rest)])?;
        let line_ends = line_ends(&rest[..count]);
        if let Some(last) = rest[..count].last() {
            self.is_inside_reply = *last != b'\n';
        }
        *done += count;
        self.written += count as u64;
        self.figures.0 += count as u64;
        self.figures.1 += line_ends;
        if count < length {
            return Ok(false);
        }
        self.piece = None;
        Ok(true)
    }

    /// Writes of the log; false if the socket takes no more.
    fn write_slices(&mut self, slices: &[Slice], socket: &mut impl Write) -> io::Result<bool> {
        let length: usize = slices.iter().map(|slice| slice.bytes().len()).sum();
        let buffers: Vec<IoSlice<'_>> = slices
            .iter()
            .map(|slice| IoSlice::new(slice.bytes()))
            .collect();
        let count = write_some(socket, &buffers)?;
        self.position += count as u64;
        self.written += count as u64;
        self.figures.0 += count as u64;
        let mut left = count;
        for slice in slices {
            let taken = left.min(slice.bytes().len());
            self.figures.1 += line_ends(&slice.bytes()[..taken]);
            left -= taken;
        }
        Ok(count == length)
    }
}

/// Line ends among these bytes.
pub fn line_ends(bytes: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', bytes).count() as u64
}

/// One vectored write; a socket that would block takes zero bytes.
fn write_some(socket: &mut impl Write, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
    loop {
        return match socket.write_vectored(buffers) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
            other => other,
        };
    }
}

fn next_piece(content: &mut ReplyBody, dialect: Dialect) -> Option<Piece> {
    match content {
        ReplyBody::Bytes(bytes) => {
            let bytes = std::mem::take(bytes);
            *content = ReplyBody::Empty;
            Some(Piece::Own(bytes))
        }
        ReplyBody::History(messages, next) => history_piece(messages, next).map(Piece::Own),
        ReplyBody::Users(users, next) => match dialect {
            Dialect::Basic => users_piece(users, next).map(Piece::Own),
            Dialect::Extended => extended_users_piece(users, next).map(Piece::Own),
            // The page is told who is here by documents.
            Dialect::Page => None,
        },
        ReplyBody::Document(document) => {
            let document = document.clone();
            *content = ReplyBody::Empty;
            Some(Piece::Document(document))
        }
        ReplyBody::Begin(_) | ReplyBody::Empty => None,
    }
}

/// Encodes the next lines of a history. No line outlives its piece: a reader that does not read
/// costs one piece, whatever the size of the history.
fn history_piece(messages: &[Arc<Message>], next: &mut usize) -> Option<Arc<[u8]>> {
    let mut lines = Vec::new();
    while let Some(message) = messages.get(*next)
        && lines.len() < REPLY_PIECE_BYTES
    {
        basic::encode_chat_message(&mut lines, message);
        *next += 1;
    }
    (!lines.is_empty()).then(|| lines.into())
}

/// The next piece of the one line that tells who is here.
fn users_piece(users: &[(Username, Timestamp)], next: &mut usize) -> Option<Arc<[u8]>> {
    // The index is 0 before the line has begun, and then one more than the names written.
    if *next > users.len() {
        return None;
    }
    let mut whole = Vec::with_capacity(REPLY_PIECE_BYTES.min(64 + 24 * users.len()));
    if *next == 0 {
        let opening = format!("Connected users ({}): ", users.len());
        basic::open_message(&mut whole, SERVER_SOURCE);
        basic::continue_text(&mut whole, &opening);
        *next = 1;
    }
    while let Some((name, _)) = users.get(*next - 1) {
        if whole.len() >= REPLY_PIECE_BYTES {
            return Some(whole.into());
        }
        if *next > 1 {
            basic::continue_text(&mut whole, ", ");
        }
        basic::continue_text(&mut whole, name.as_str());
        *next += 1;
    }
    basic::close_message(&mut whole);
    *next = users.len() + 2;
    Some(whole.into())
}

/// The same in the extended dialect.
fn extended_users_piece(users: &[(Username, Timestamp)], next: &mut usize) -> Option<Arc<[u8]>> {
    if *next > users.len() {
        return None;
    }
    let mut whole = Vec::with_capacity(REPLY_PIECE_BYTES.min(64 + 64 * users.len()));
    if *next == 0 {
        extended::open_users(&mut whole);
        *next = 1;
    }
    while let Some((name, since)) = users.get(*next - 1) {
        if whole.len() >= REPLY_PIECE_BYTES {
            return Some(whole.into());
        }
        extended::continue_users(&mut whole, *next == 1, name.as_str(), *since);
        *next += 1;
    }
    extended::close_users(&mut whole);
    *next = users.len() + 2;
    Some(whole.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::fanout::broadcast_log::BroadcastLog;
    use jiff::Timestamp;

    /// A socket that takes so many bytes before it would block, and so many a call.
    struct Socket {
        taken: Vec<u8>,
        room: usize,
        per_call: usize,
    }

    impl Socket {
        fn new(room: usize, per_call: usize) -> Self {
            Socket {
                taken: Vec::new(),
                room,
                per_call,
            }
        }

        fn text(&self) -> &str {
            std::str::from_utf8(&self.taken).unwrap()
        }
    }

    impl Write for Socket {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let count = bytes.len().min(self.room).min(self.per_call);
            if count == 0 {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            self.taken.extend_from_slice(&bytes[..count]);
            self.room -= count;
            Ok(count)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// The basic dialect's log is of this one, and the other has nothing.
    fn logs_of(log: BroadcastLog) -> BroadcastLogs {
        PerDialect {
            basic: Arc::new(log),
            extended: Arc::new(BroadcastLog::new(1 << 20)),
            page: Arc::new(BroadcastLog::new(1 << 20)),
        }
    }

    fn basic(position: u64) -> LogPosition {
        LogPosition {
            dialect: Dialect::Basic,
            position,
        }
    }

    fn extended(position: u64) -> LogPosition {
        LogPosition {
            dialect: Dialect::Extended,
            position,
        }
    }

    fn heads(basic: u64) -> PerDialect<u64> {
        PerDialect {
            basic,
            extended: 0,
            page: 0,
        }
    }

    fn log(batches: &[&str]) -> BroadcastLogs {
        let log = BroadcastLog::new(1 << 20);
        for batch in batches {
            log.publish(Arc::from(batch.as_bytes()));
        }
        logs_of(log)
    }

    fn bytes(at: u64, text: &str) -> QueuedReply {
        QueuedReply {
            at,
            skip: 0,
            content: ReplyBody::Bytes(text.as_bytes().into()),
        }
    }

    fn bye() -> Eviction {
        Eviction {
            farewell: b"bye\n"[..].into(),
            rest: None,
        }
    }

    fn name(port: u16) -> Username {
        Username::from_address(([127, 0, 0, 1], port).into())
    }

    fn message(text: &str) -> Arc<Message> {
        Arc::new(Message::new(1, Timestamp::UNIX_EPOCH, name(1), text.into()))
    }

    /// Writes with a socket that blocks after every few bytes, as often as it takes.
    fn drain(outbox: &mut Outbox, log: &BroadcastLogs, step: usize) -> String {
        let mut text = Vec::new();
        for _ in 0..1_000_000 {
            let mut socket = Socket::new(step, step);
            let progress = outbox.write(log, log.heads(), &mut socket).unwrap();
            text.extend_from_slice(&socket.taken);
            match progress {
                Progress::Blocked | Progress::Yield => {}
                Progress::CaughtUp | Progress::Finished => return String::from_utf8(text).unwrap(),
                Progress::FellOut => panic!("fell out of the log"),
                Progress::NeedsStored(_) => panic!("nothing was to come from the store"),
            }
        }
        panic!("the writing never ends");
    }

    #[test]
    fn replies_stand_at_their_place_whatever_the_socket_takes() {
        let log = log(&["a\nb\n", "c\n", "d\n"]);
        for step in [1, 2, 3, 5, 1000] {
            let mut outbox = Outbox::new(basic(2));
            outbox.add(bytes(4, "R1\n"));
            outbox.add(bytes(4, "R2\n"));
            outbox.add(bytes(8, "R3\n"));
            assert!(outbox.has_replies());
            assert_eq!(
                drain(&mut outbox, &log, step),
                "b\nR1\nR2\nc\nd\nR3\n",
                "steps of {step}"
            );
            assert_eq!(outbox.place(), basic(8));
            assert!(!outbox.has_replies());
        }
    }

    #[test]
    fn nothing_after_the_end_is_written() {
        let log = log(&["a\nb\n", "c\n"]);
        let mut outbox = Outbox::new(basic(0));
        outbox.add(bytes(2, "bye\n"));
        outbox.end_at(basic(2));
        assert_eq!(drain(&mut outbox, &log, 1), "a\nbye\n");
        assert!(outbox.is_finished());
    }

    #[test]
    fn a_reply_may_take_the_place_of_lines_of_the_log() {
        let log = log(&["a\nsummary\nb\n"]);
        let mut outbox = Outbox::new(basic(0));
        outbox.add(QueuedReply {
            skip: 8,
            ..bytes(2, "own\n")
        });
        assert_eq!(drain(&mut outbox, &log, 3), "a\nown\nb\n");
    }

    #[test]
    fn history_and_users_are_made_piece_by_piece() {
        let log = log(&[]);
        let messages = vec![message("one"), message("two")];
        let users: Arc<[(Username, Timestamp)]> = (1..=3000)
            .map(|port| (name(port), Timestamp::UNIX_EPOCH))
            .collect();
        let mut outbox = Outbox::new(basic(0));
        outbox.add(QueuedReply {
            at: 0,
            skip: 0,
            content: ReplyBody::History(messages, 0),
        });
        outbox.add(QueuedReply {
            at: 0,
            skip: 0,
            content: ReplyBody::Users(users, 0),
        });
        let text = drain(&mut outbox, &log, 777);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3);
        assert_eq!(
            lines[1],
            r#"{"type":"message","data":{"source":"127.0.0.1:1","message":"two"}}"#
        );
        let names: Vec<String> = (1..=3000).map(|port| format!("127.0.0.1:{port}")).collect();
        let told = format!("Connected users (3000): {}", names.join(", "));
        let last: serde_json::Value = serde_json::from_str(lines[2]).unwrap();
        assert_eq!(last["data"]["message"], told);
    }

    #[test]
    fn who_waits_for_an_answer_is_told_once_it_is_written() {
        let log = log(&["a\n"]);
        let mut outbox = Outbox::new(basic(0));
        outbox.add(bytes(0, "reply\n"));
        outbox.expect_answer();
        let mut socket = Socket::new(3, 3);
        assert_eq!(
            outbox.write(&log, heads(2), &mut socket).unwrap(),
            Progress::Blocked
        );
        assert!(!outbox.take_answered());
        socket.room = 3;
        assert_eq!(
            outbox.write(&log, heads(2), &mut socket).unwrap(),
            Progress::Blocked
        );
        assert!(outbox.take_answered());
        assert!(!outbox.take_answered(), "only once");
    }

    #[test]
    fn a_reader_older_than_the_log_falls_out() {
        let log = logs_of(BroadcastLog::new(4));
        for _ in 0..10 {
            log.basic.publish(Arc::from(&b"abc\n"[..]));
        }
        let mut outbox = Outbox::new(basic(0));
        let progress = outbox
            .write(&log, log.heads(), &mut Socket::new(100, 100))
            .unwrap();
        assert_eq!(progress, Progress::FellOut);
    }

    #[test]
    fn a_cut_ends_the_line_begun_and_says_farewell() {
        let log = log(&["first\nsecond\n", "third\n"]);
        let cases = [
            (0, "bye\n"),
            (3, "first\nbye\n"),
            (6, "first\nbye\n"),
            (7, "first\nsecond\nbye\n"),
        ];
        for (taken, expected) in cases {
            let mut outbox = Outbox::new(basic(0));
            let mut socket = Socket::new(taken, 100);
            assert_eq!(
                outbox.write(&log, log.heads(), &mut socket).unwrap(),
                Progress::Blocked
            );
            outbox.cut(&log, &bye());
            let text = format!("{}{}", socket.text(), drain(&mut outbox, &log, 2));
            assert_eq!(text, expected, "after {taken} bytes");
        }
    }

    /// The socket takes nothing while the others talk the line begun out of the log.
    #[test]
    fn a_cut_ends_the_line_that_it_was_decided_in_though_the_log_has_gone_on() {
        let log = logs_of(BroadcastLog::new(10));
        log.basic.publish(b"first\nsecond\n"[..].into());
        for (taken, taken_later, expected) in [
            (2, 0, "first\nbye\n"),
            (2, 2, "first\nbye\n"),
            (2, 4, "first\nbye\n"),
            (6, 0, "first\nbye\n"),
        ] {
            let mut outbox = Outbox::new(basic(0));
            let mut socket = Socket::new(taken, 100);
            let head = log.heads();
            outbox.write(&log, head, &mut socket).unwrap();
            let rest = outbox.place().rest_of_line(&log).unwrap();
            let cut = Eviction {
                rest: Some((outbox.place(), rest)),
                ..bye()
            };
            // Another thread may have written on meanwhile.
            socket.room = taken_later;
            outbox.write(&log, head, &mut socket).unwrap();
            let far = logs_of(BroadcastLog::new(10));
            far.basic.publish(vec![b'\n'; 1000].into());
            far.basic.publish(vec![b'\n'; 1000].into());
            outbox.cut(&far, &cut);
            let text = format!("{}{}", socket.text(), drain(&mut outbox, &far, 2));
            assert_eq!(text, expected, "after {taken} and {taken_later} bytes");
        }
    }

    #[test]
    fn a_cut_inside_a_reply_ends_its_line() {
        let log = log(&["first\n"]);
        for (taken, expected) in [(0, "bye\n"), (2, "reply\nbye\n")] {
            let mut outbox = Outbox::new(basic(0));
            outbox.add(bytes(0, "reply\n"));
            outbox.add(bytes(0, "another\n"));
            let mut socket = Socket::new(taken, 100);
            assert_eq!(
                outbox.write(&log, heads(6), &mut socket).unwrap(),
                Progress::Blocked
            );
            outbox.cut(&log, &bye());
            let text = format!("{}{}", socket.text(), drain(&mut outbox, &log, 100));
            assert_eq!(text, expected, "after {taken} bytes");
        }
    }

    #[test]
    fn a_cut_inside_a_line_that_is_not_at_hand_says_nothing() {
        let log = log(&[]);
        let users: Arc<[(Username, Timestamp)]> = (1..=3000)
            .map(|port| (name(port), Timestamp::UNIX_EPOCH))
            .collect();
        let mut outbox = Outbox::new(basic(0));
        outbox.add(QueuedReply {
            at: 0,
            skip: 0,
            content: ReplyBody::Users(users, 0),
        });
        let mut socket = Socket::new(20, 100);
        assert_eq!(
            outbox.write(&log, heads(0), &mut socket).unwrap(),
            Progress::Blocked
        );
        outbox.cut(&log, &bye());
        assert_eq!(drain(&mut outbox, &log, 100), "");
        assert!(outbox.is_finished());
    }

    /// Logs with these batches each.
    fn both(basic: &[&str], extended: &[&str]) -> BroadcastLogs {
        let logs = log(basic);
        for batch in extended {
            logs.extended.publish(Arc::from(batch.as_bytes()));
        }
        logs
    }

    fn start(position: u64) -> StreamStart {
        StreamStart {
            dialect: Dialect::Extended,
            position,
            live_from: position,
            stored: None,
        }
    }

    fn switch(at: u64, start: StreamStart) -> QueuedReply {
        QueuedReply {
            at,
            skip: 0,
            content: ReplyBody::Begin(start),
        }
    }

    #[test]
    fn a_client_changes_the_dialect_between_two_lines() {
        let logs = both(&["a\nb\n", "c\n"], &["A\nB\n", "C\nD\n"]);
        for step in 1..8 {
            let mut outbox = Outbox::new(basic(0));
            outbox.add(bytes(4, "welcome\n"));
            outbox.add(switch(4, start(4)));
            // Its place is in the other log: the position is passed over there only.
            outbox.add(bytes(6, "reply\n"));
            outbox.end_at(extended(8));
            let told = drain(&mut outbox, &logs, step);
            assert_eq!(told, "a\nb\nwelcome\nC\nreply\nD\n", "{step} a time");
            assert!(outbox.is_finished());
        }
    }

    #[test]
    fn what_was_missed_is_read_from_an_earlier_line_of_the_log() {
        let logs = both(&["a\n"], &["A\nB\n", "C\nD\n"]);
        let mut outbox = Outbox::new(basic(2));
        outbox.add(bytes(2, "welcome\n"));
        let missed = StreamStart {
            dialect: Dialect::Extended,
            position: 2,
            live_from: 6,
            stored: None,
        };
        outbox.add(switch(2, missed));
        assert_eq!(drain(&mut outbox, &logs, 3), "welcome\nB\nC\nD\n");
        assert_eq!((outbox.live_from(), outbox.place()), (6, extended(8)));
    }

    #[test]
    fn what_was_missed_long_ago_comes_from_the_store_before_the_log_goes_on() {
        let logs = both(&["a\n"], &["C\n", "D\n"]);
        let stored = StoredRange { after: 5, until: 7 };
        let begin = StreamStart {
            dialect: Dialect::Extended,
            position: 2,
            live_from: 2,
            stored: Some(stored),
        };
        let mut outbox = Outbox::new(basic(2));
        outbox.add(switch(2, begin));
        outbox.add(bytes(2, "kept\n"));
        let mut socket = Socket::new(100, 100);
        for (stored, lines, last) in [
            (stored, "six\n", 6),
            (StoredRange { after: 6, until: 7 }, "seven\n", 7),
        ] {
            let progress = outbox.write(&logs, logs.heads(), &mut socket).unwrap();
            assert_eq!(progress, Progress::NeedsStored(stored));
            outbox.give_stored(lines.as_bytes().into(), last);
        }
        let progress = outbox.write(&logs, logs.heads(), &mut socket).unwrap();
        assert_eq!(progress, Progress::CaughtUp);
        assert_eq!(socket.text(), "six\nseven\nkept\nD\n");
    }

    #[test]
    fn a_cut_while_the_store_is_read_says_farewell_after_the_line_begun() {
        let logs = both(&["a\n"], &["C\n", "D\n"]);
        for (taken, expected) in [(0, "bye\n"), (2, "six\nbye\n")] {
            let begin = StreamStart {
                dialect: Dialect::Extended,
                position: 2,
                live_from: 2,
                stored: Some(StoredRange { after: 5, until: 9 }),
            };
            let mut outbox = Outbox::new(basic(2));
            outbox.add(switch(2, begin));
            let mut socket = Socket::new(taken, 100);
            outbox.write(&logs, logs.heads(), &mut socket).unwrap();
            outbox.give_stored(b"six\n"[..].into(), 6);
            outbox.write(&logs, logs.heads(), &mut socket).unwrap();
            outbox.cut(&logs, &bye());
            let text = format!("{}{}", socket.text(), drain(&mut outbox, &logs, 100));
            assert_eq!(text, expected, "after {taken} bytes");
        }
    }
}
