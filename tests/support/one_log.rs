//! Model of a chat as one log, of which every reader receives a piece.
//!
//! [`Book`] is the log of an observer that is connected from the first to the last line.
//! [`Reader`] compares the bytes of another connection with it. Each line is either the next line
//! of the log or the reply to the oldest unanswered request. [`Book::close`] checks the complete
//! log against the users that were connected. The first difference fails the test.

use super::{Said, decode};
use std::collections::{BTreeMap, HashMap, VecDeque};

/// A public line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Public {
    Entered(String),
    Left(String),
    /// Old name and new name.
    Renamed(String, String),
    /// Author and text.
    Said(String, String),
}

impl Public {
    /// Returns the public line; none for a reply.
    pub fn of((source, text): &Said) -> Option<Self> {
        if source != "[Server]" {
            return Some(Public::Said(source.clone(), text.clone()));
        }
        if let Some(name) = text.strip_suffix(" has entered the chat") {
            return Some(Public::Entered(name.to_owned()));
        }
        if let Some(name) = text.strip_suffix(" has left the chat") {
            return Some(Public::Left(name.to_owned()));
        }
        let (old, new) = text.split_once(" renamed to ")?;
        Some(Public::Renamed(old.to_owned(), new.to_owned()))
    }
}

/// A request of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    Say(String),
    SetName(String),
    Users,
    History,
    /// An invalid request, whose answer contains this.
    Refused(&'static str),
}

/// A condition on the users after a number of lines.
#[derive(Clone, Debug)]
enum Check {
    /// The reply to `users`.
    Users(String),
    /// The name belongs to another user than this reader.
    Taken(usize, String),
    /// The name belongs to this reader.
    Own(usize, String),
}

/// Returns the text of a message, which begins with its author and number.
pub fn text_of(reader: usize, number: usize, rest: &str) -> String {
    format!("{reader}.{number} {rest}")
}

/// Returns author and number of a text of [`text_of`].
fn author_of(text: &str) -> (usize, usize) {
    let parse = || {
        let (reader, rest) = text.split_once('.')?;
        let (number, _) = rest.split_once(' ')?;
        Some((reader.parse().ok()?, number.parse().ok()?))
    };
    parse().unwrap_or_else(|| panic!("a message that nobody of the test wrote: {text:?}"))
}

#[derive(Debug, Default)]
pub struct Book {
    bytes: Vec<u8>,
    /// End of each line.
    ends: Vec<usize>,
    events: Vec<Public>,
    said: Vec<usize>,
    /// Lines of arrival of each address.
    arrivals: HashMap<String, Vec<usize>>,
    /// Messages before this log, newest last.
    past: VecDeque<Vec<u8>>,
    kept_messages: usize,
    checks: BTreeMap<usize, Vec<Check>>,
}

impl Book {
    /// Returns an empty log of a server that keeps this many messages, with `past` before the log.
    pub fn new(kept_messages: usize, past: VecDeque<Vec<u8>>) -> Self {
        Book {
            past,
            kept_messages,
            ..Book::default()
        }
    }

    pub fn len(&self) -> usize {
        self.ends.len()
    }

    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    pub fn byte_count(&self) -> usize {
        self.bytes.len()
    }

    /// Returns a line with its newline.
    fn line(&self, index: usize) -> &[u8] {
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.bytes[start..self.ends[index]]
    }

    /// Takes the next line of the observer; returns the names if it is the reply to `users`.
    pub fn append(&mut self, line: &[u8]) -> Option<String> {
        let said = decode(line);
        let said = said.unwrap_or_else(|| {
            let text = String::from_utf8_lossy(line);
            panic!("a line of another shape: {text}")
        });
        let Some(event) = Public::of(&said) else {
            let is_list = said.1.starts_with("Connected users (");
            assert!(is_list, "who only listens was told: {}", said.1);
            self.expect(Check::Users(said.1.clone()), self.len());
            return Some(said.1);
        };
        let index = self.len();
        match &event {
            Public::Said(..) => self.said.push(index),
            Public::Entered(address) => {
                self.arrivals
                    .entry(address.clone())
                    .or_default()
                    .push(index);
            }
            _ => {}
        }
        self.bytes.extend_from_slice(line);
        self.ends.push(self.bytes.len());
        self.events.push(event);
        None
    }

    /// Records a condition, which [`Book::close`] checks.
    fn expect(&mut self, check: Check, after: usize) {
        self.checks.entry(after).or_default().push(check);
    }

    /// Returns the reply to `history` after this many lines.
    fn history(&self, after: usize) -> VecDeque<Vec<u8>> {
        let here = self.said.partition_point(|&index| index < after);
        let first = here.saturating_sub(self.kept_messages);
        let earlier = self.kept_messages - (here - first);
        let past = self
            .past
            .iter()
            .skip(self.past.len().saturating_sub(earlier));
        let new = self.said[first..here]
            .iter()
            .map(|&index| self.line(index).to_vec());
        past.cloned().chain(new).collect()
    }

    /// Checks the log against all readers; returns the start of the next log.
    pub fn close(mut self, observer: &str, readers: &mut [Reader]) -> VecDeque<Vec<u8>> {
        // As they came, which is also the order of those who had one address one after the other.
        readers.sort_by_key(|reader| reader.id);
        for reader in readers.iter_mut() {
            reader.follow(&mut self);
            reader.check_end(&self);
        }
        let mut waiting: HashMap<&str, VecDeque<usize>> = HashMap::new();
        for (index, reader) in readers.iter().enumerate() {
            waiting.entry(&reader.address).or_default().push_back(index);
        }
        let mut here: Vec<(Option<usize>, String)> = Vec::new();
        let mut said = vec![0; readers.len()];
        let mut left = vec![None; readers.len()];
        for (index, event) in self.events.iter().enumerate() {
            match event {
                Public::Entered(address) => {
                    let next = waiting.get_mut(address.as_str());
                    let reader = next.and_then(VecDeque::pop_front);
                    let is_known = reader.is_some() || address == observer;
                    assert!(is_known, "line {index}: nobody of the test is {address}");
                    assert!(
                        here.iter().all(|(_, name)| name != address),
                        "line {index}: {address} came while it was here"
                    );
                    here.push((reader, address.clone()));
                }
                Public::Left(name) => {
                    let place = here.iter().position(|(_, other)| other == name);
                    let place = place
                        .unwrap_or_else(|| panic!("line {index}: {name} left, and was not here"));
                    if let (Some(reader), _) = here.remove(place) {
                        left[reader] = Some(index);
                    }
                }
                Public::Renamed(old, new) => {
                    let folded = new.to_lowercase();
                    let taken = here
                        .iter()
                        .find(|(_, name)| name != old && name.to_lowercase() == folded);
                    assert!(
                        taken.is_none(),
                        "line {index}: {old} got the name of {taken:?}"
                    );
                    let user = here.iter_mut().find(|(_, name)| name == old);
                    user.unwrap_or_else(|| panic!("line {index}: {old} was not here"))
                        .1 = new.clone();
                }
                Public::Said(source, text) => {
                    let (author, number) = author_of(text);
                    let author = readers
                        .binary_search_by_key(&author, |reader| reader.id)
                        .unwrap_or_else(|_| panic!("line {index}: {author} is of another round"));
                    let name = here.iter().find(|(reader, _)| *reader == Some(author));
                    assert_eq!(
                        name.map(|(_, name)| name),
                        Some(source),
                        "line {index}: {text:?} has another author"
                    );
                    assert_eq!(
                        number, said[author],
                        "line {index}: out of order, lost or said twice"
                    );
                    said[author] += 1;
                }
            }
            for check in self.checks.remove(&(index + 1)).unwrap_or_default() {
                check.look_at(index, &here, readers);
            }
        }
        assert!(self.checks.is_empty(), "{:?}", self.checks);
        let names: Vec<&String> = here.iter().map(|(_, name)| name).collect();
        assert_eq!(names, [observer], "who is left at the end");
        for (index, reader) in readers.iter().enumerate() {
            let (in_log, left) = (said[index], left[index]);
            let sent = reader.said;
            let told = format!(
                "reader {} ({}): {sent} sent, {} seen by itself, {in_log} in the log",
                reader.id, reader.address, reader.echoed
            );
            assert!(in_log <= sent && in_log >= reader.echoed, "{told}");
            if reader.end == End::Clean {
                assert_eq!(in_log, sent, "{told}");
                assert_eq!(left, reader.cursor, "{told}: its stream ends where it left");
            }
            if let Some(cursor) = reader.cursor {
                assert!(
                    left.is_some_and(|left| left >= cursor),
                    "{told}: its departure is line {left:?}, and it read up to {cursor}"
                );
            }
        }
        self.history(self.len())
    }
}

impl Check {
    fn look_at(self, index: usize, here: &[(Option<usize>, String)], readers: &[Reader]) {
        let is = |place: &Option<usize>, id: usize| place.is_some_and(|at| readers[at].id == id);
        match self {
            Check::Users(told) => {
                let names: Vec<&str> = here.iter().map(|(_, name)| name.as_str()).collect();
                let expected = format!("Connected users ({}): {}", names.len(), names.join(", "));
                assert_eq!(told, expected, "after line {index}");
            }
            Check::Taken(id, name) => {
                let folded = name.to_lowercase();
                let holder = here
                    .iter()
                    .find(|(reader, other)| !is(reader, id) && other.to_lowercase() == folded);
                assert!(
                    holder.is_some(),
                    "after line {index}: nobody else has {name}, and {id} did not get it"
                );
            }
            Check::Own(id, name) => {
                let own = here.iter().find(|(reader, _)| is(reader, id));
                assert_eq!(own.map(|(_, name)| name), Some(&name), "after line {index}");
            }
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Open,
    /// The client closed its sending side and read to the end.
    Clean,
    /// The client reset the connection.
    BrokenOff,
}

/// A connection and its position in the log.
#[derive(Debug)]
pub struct Reader {
    /// Unique number.
    pub id: usize,
    pub address: String,
    /// Number of earlier arrivals from this address.
    pub ordinal: usize,
    /// Name in the last line received.
    pub name: String,
    pub end: End,
    pub said: usize,
    /// Own messages received.
    pub echoed: usize,
    /// Correct lines and replies received.
    pub lines: u64,
    bytes: Vec<u8>,
    requests: VecDeque<Request>,
    /// Remaining lines of the reply to `history`.
    history: VecDeque<Vec<u8>>,
    cursor: Option<usize>,
}

impl Reader {
    pub fn new(id: usize, address: String, ordinal: usize) -> Self {
        Reader {
            id,
            name: address.clone(),
            address,
            ordinal,
            end: End::Open,
            said: 0,
            echoed: 0,
            lines: 0,
            bytes: Vec::new(),
            requests: VecDeque::new(),
            history: VecDeque::new(),
            cursor: None,
        }
    }

    pub fn has_arrived(&self) -> bool {
        self.cursor.is_some()
    }

    /// Returns whether the server has answered every request.
    pub fn is_answered(&self) -> bool {
        self.requests.is_empty() && self.history.is_empty()
    }

    pub fn ask(&mut self, request: Request) {
        self.said += usize::from(matches!(request, Request::Say(_)));
        self.requests.push_back(request);
    }

    /// Takes received bytes and compares them as far as the log goes.
    pub fn take(&mut self, bytes: &[u8], book: &mut Book) {
        self.bytes.extend_from_slice(bytes);
        self.follow(book);
    }

    pub fn follow(&mut self, book: &mut Book) {
        let bytes = std::mem::take(&mut self.bytes);
        let mut done = 0;
        while done < bytes.len() {
            match self.next(&bytes[done..], book) {
                0 => break,
                count => done += count,
            }
            self.lines += 1;
        }
        self.bytes = bytes[done..].to_vec();
    }

    /// Takes the first line; returns its length, or 0 if the log is too short.
    fn next(&mut self, bytes: &[u8], book: &mut Book) -> usize {
        // The common case first: thousands of readers get the same line.
        if self.history.is_empty()
            && let Some(cursor) = self.cursor
            && cursor < book.len()
            && bytes.starts_with(book.line(cursor))
        {
            self.cursor = Some(cursor + 1);
            self.see(&book.events[cursor]);
            return book.line(cursor).len();
        }
        let Some(end) = bytes.iter().position(|&byte| byte == b'\n') else {
            return 0;
        };
        let line = &bytes[..=end];
        if let Some(expected) = self.history.pop_front() {
            if line != expected {
                self.fail(
                    line,
                    &format!("expected of its history: {}", lossy(&expected)),
                );
            }
            return line.len();
        }
        let Some(said) = decode(line) else {
            self.fail(line, "it has another shape");
        };
        let Some(cursor) = self.cursor else {
            let own = Public::Entered(self.address.clone());
            if Public::of(&said) != Some(own) {
                self.fail(line, "its own arrival comes first");
            }
            let arrivals = book.arrivals.get(&self.address);
            let Some(&arrival) = arrivals.and_then(|lines| lines.get(self.ordinal)) else {
                return 0;
            };
            self.cursor = Some(arrival + 1);
            return line.len();
        };
        if self.answers(&said, line, cursor, book) {
            return line.len();
        }
        if cursor < book.len() {
            let expected = lossy(book.line(cursor));
            self.fail(line, &format!("line {cursor} of the log is {expected}"));
        }
        if Public::of(&said).is_none() {
            self.fail(line, "it answers no request");
        }
        // A public line that the book does not have yet.
        0
    }

    /// Applies a line of the log to the reader's own state.
    fn see(&mut self, event: &Public) {
        match event {
            Public::Renamed(old, new) if *old == self.name => {
                let request = self.requests.pop_front();
                assert_eq!(
                    request,
                    Some(Request::SetName(new.clone())),
                    "reader {} was renamed",
                    self.id
                );
                self.name = new.clone();
            }
            Public::Said(source, text) if *source == self.name => {
                let request = self.requests.pop_front();
                assert_eq!(
                    request,
                    Some(Request::Say(text.clone())),
                    "reader {} saw what it said",
                    self.id
                );
                self.echoed += 1;
            }
            _ => {}
        }
    }

    /// Returns whether a line is the reply to the oldest request, or its first line.
    fn answers(&mut self, said: &Said, line: &[u8], cursor: usize, book: &mut Book) -> bool {
        let (source, text) = said;
        let is_notice = source == "[Server]" && Public::of(said).is_none();
        let is_answer = match self.requests.front() {
            Some(Request::History) => {
                let mut history = book.history(cursor);
                let first = history.pop_front();
                let is_first = first.as_deref() == Some(line);
                if is_first {
                    self.history = history;
                }
                is_first || (first.is_none() && is_notice && text == "No messages yet")
            }
            Some(Request::Users) if is_notice => {
                book.expect(Check::Users(text.clone()), cursor);
                true
            }
            Some(Request::SetName(name)) if is_notice => {
                let check = if text.contains(" is taken, ") && text.contains(name.as_str()) {
                    Check::Taken(self.id, name.clone())
                } else if *text == format!("Your name is already {name}") {
                    Check::Own(self.id, name.clone())
                } else {
                    self.fail(line, &format!("it asked for the name {name}"));
                };
                book.expect(check, cursor);
                true
            }
            Some(Request::Refused(part)) => is_notice && text.contains(part),
            _ => false,
        };
        if is_answer {
            self.requests.pop_front();
        }
        is_answer
    }

    /// Checks that all is received, apart from what a reset lost.
    fn check_end(&self, book: &Book) {
        let whole_lines = self.bytes.contains(&b'\n');
        let who = format!("reader {} ({}, {:?})", self.id, self.address, self.end);
        let rest = lossy(&self.bytes);
        assert!(!whole_lines, "{who} got what nobody else got: {rest}");
        assert_ne!(self.end, End::Open, "{who} is to have ended");
        if self.end == End::Clean {
            assert_eq!(rest, "", "{who} got half a line");
            let owed = &self.requests;
            assert!(self.is_answered(), "{who} got no answer to {owed:?}");
            let cursor = self.cursor.unwrap_or(usize::MAX);
            let own = Public::Left(self.name.clone());
            let next = book.events.get(cursor);
            assert_eq!(next, Some(&own), "{who}: what came after its last line");
        }
    }

    #[track_caller]
    fn fail(&self, line: &[u8], why: &str) -> ! {
        panic!(
            "reader {} ({}, named {}, at line {:?} of the log, with {:?} open) got\n  {}and {why}",
            self.id,
            self.address,
            self.name,
            self.cursor,
            self.requests,
            lossy(line)
        )
    }
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
