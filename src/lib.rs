//! smolchat: a small, fast network chat.
//!
//! This library is everything; the two programs in `src/bin` only call it. In reading order:
//!
//! * [`limits`]: every bound and its default.
//! * Core, which knows no socket, clock or thread: [`text`] makes what strangers write safe,
//!   [`name`] says what may be a name, [`framing`] makes lines of bytes, [`protocol`] says what
//!   a line may be, [`history`] keeps messages, [`room`] is the chat itself, [`pace`] holds
//!   senders to their rate, [`summary`] tells crowds in short, [`render`] makes the line that a
//!   person reads.
//! * [`server`]: the broker and the log, connections, the page.
//! * [`client`]: the session, the screen, the input.
//! * [`arguments`], [`documents`], [`exit_status`], [`signals`] and [`socket`]: what the programs need of their
//!   surroundings.
//!
//! Data flows one way: bytes become lines, lines requests, requests events, events bytes. The
//! server never imports the client nor the client the server, and the core neither.
#![forbid(unsafe_code)]

pub mod arguments;
pub mod client;
pub mod connect_rate;
pub mod documents;
pub mod event;
pub mod exit_status;
pub mod framing;
pub mod history;
pub mod limits;
pub mod name;
pub mod pace;
pub mod protocol;
pub mod record;
pub mod render;
pub mod room;
pub mod search;
pub mod server;
pub mod signals;
pub mod socket;
pub mod store;
pub mod summary;
pub mod text;
pub mod token;
