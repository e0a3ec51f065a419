//! A client of the extended dialect, and temporary folders for stores.

use super::{Chat, LineClient, PATIENCE, Site, eventually};
use serde_json::{Value, json};
use smolchat::server::ServerConfig;
use smolchat::server::limits::Limits;
use smolchat::storage::{StoreOptions, SyncMode};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A temporary folder. Removed when dropped.
#[derive(Debug)]
pub struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("smolchat-test-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).expect("a folder");
        Folder(path)
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Returns the configuration of a store in the folder.
    pub fn store(&self) -> StoreOptions {
        StoreOptions {
            path: self.file("chat.db"),
            sync: SyncMode::Normal,
            keep_messages: None,
            keep_for: None,
        }
    }

    /// Starts a server with a store in the folder.
    pub fn chat(&self, limits: Limits) -> Chat {
        Chat::with_config(ServerConfig {
            limits,
            store: Some(self.store()),
            ..Chat::config_with_web()
        })
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left is in the folder for such things.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A client that has said hello.
#[derive(Debug)]
pub struct Extended {
    pub line: LineClient,
    /// Data of the `welcome` line.
    pub welcome: Value,
    pub name: String,
    pub token: String,
    pub epoch: String,
    /// Number of the newest event received.
    pub last: u64,
}

impl Extended {
    #[track_caller]
    pub fn connect(site: &Site, label: &str) -> Self {
        Extended::hello(site, label, json!({"version": 2, "client": "test/1"}))
    }

    #[track_caller]
    pub fn join(site: &Site, name: &str) -> Self {
        let mut client = Extended::connect(site, name);
        client.send("set-name", json!(name));
        let renamed = client.skip_to("renamed");
        assert_eq!(renamed["new_name"], name);
        client.name = name.to_owned();
        client
    }

    /// Connects with this hello.
    #[track_caller]
    pub fn hello(site: &Site, label: &str, hello: Value) -> Self {
        let mut line = site.connect_raw(label);
        let first = line.next_line().expect("its own arrival");
        assert!(
            first.ends_with(b"} \n") || first.ends_with(b"} "),
            "no mark: {first:?}"
        );
        let mut client = Extended {
            line,
            welcome: Value::Null,
            name: String::new(),
            token: String::new(),
            epoch: String::new(),
            last: 0,
        };
        client.send("hello", hello);
        let welcome = client.skip_to("welcome");
        let text = |key: &str| welcome[key].as_str().expect("a text").to_owned();
        (client.name, client.token, client.epoch) = (text("name"), text("token"), text("epoch"));
        if welcome["resumed"].is_null() {
            client.last = welcome["last"].as_u64().expect("a number");
        }
        client.welcome = welcome;
        client
    }

    #[track_caller]
    pub fn send(&mut self, kind: &str, data: Value) {
        let line = format!("{}\n", json!({"type": kind, "data": data}));
        self.line.send_raw(line.as_bytes());
    }

    /// Returns type and data of the next line; checks that event numbers are consecutive.
    #[track_caller]
    pub fn next(&mut self) -> Option<(String, Value)> {
        let line = self.line.next_line()?;
        let mut value: Value = serde_json::from_slice(&line).expect("JSON");
        let kind = value["type"].as_str().expect("a type").to_owned();
        let data = value["data"].take();
        if ["message", "joined", "left", "renamed"].contains(&kind.as_str())
            && let Some(id) = data["id"].as_u64()
        {
            assert_eq!(id, self.last + 1, "a gap or a repeat: {data}");
            self.last = id;
        }
        Some((kind, data))
    }

    /// Skips lines up to this type and returns its data.
    #[track_caller]
    pub fn skip_to(&mut self, kind: &str) -> Value {
        loop {
            let Some((each, data)) = self.next() else {
                panic!("the stream ended before {kind} came");
            };
            if each == kind {
                return data;
            }
        }
    }

    /// Expects a line of this type next and returns its data.
    #[track_caller]
    pub fn expect(&mut self, kind: &str) -> Value {
        let (each, data) = self
            .next()
            .unwrap_or_else(|| panic!("no {kind}, but the end"));
        assert_eq!(each, kind, "{data}");
        data
    }

    /// Sends a message, waits for it and returns its number.
    #[track_caller]
    pub fn say(&mut self, text: &str) -> u64 {
        self.send("message", json!({"message": text}));
        loop {
            let said = self.skip_to("message");
            if said["message"] == text && said["source"] == self.name.as_str() {
                return said["id"].as_u64().expect("a number");
            }
        }
    }

    /// Sends a message with a nonce and returns the number in the acknowledgement.
    #[track_caller]
    pub fn say_with(&mut self, nonce: &str, text: &str) -> u64 {
        self.send("message", json!({"message": text, "nonce": nonce}));
        let ack = self.skip_to("ack");
        assert_eq!(ack["nonce"], nonce);
        ack["id"].as_u64().expect("a number")
    }

    /// Sends a line, expects an error with this code, and returns its data.
    #[track_caller]
    pub fn refused(&mut self, kind: &str, data: Value, code: &str) -> Value {
        self.send(kind, data);
        let error = self.skip_to("error");
        assert_eq!([&error["code"], &error["type"]], [code, kind], "{error}");
        error
    }

    /// Resets the connection and waits until the server has noticed.
    #[track_caller]
    pub fn lose(self, site: &Site) -> Lost {
        let name = "smolchat_connections_ended_total{reason=\"reset\"}";
        let before = site.metric(name);
        let state = self.state();
        self.line.reset();
        eventually(PATIENCE, "the server notices", || {
            site.metric(name) > before
        });
        state
    }

    /// Returns what another connection needs to resume.
    pub fn state(&self) -> Lost {
        Lost {
            name: self.name.clone(),
            token: self.token.clone(),
            epoch: self.epoch.clone(),
            last: self.last,
        }
    }
}

/// State of a client without a connection.
#[derive(Clone, Debug)]
pub struct Lost {
    pub name: String,
    pub token: String,
    pub epoch: String,
    /// Number of the newest event received.
    pub last: u64,
}

impl Lost {
    /// Reconnects the user, which receives the missed events.
    #[track_caller]
    pub fn resume(&self, site: &Site) -> Extended {
        let after = json!({"epoch": self.epoch, "id": self.last});
        let hello = json!({"version": 2, "token": self.token, "after": after});
        let mut client = Extended::hello(site, &self.name, hello);
        client.last = self.last;
        client
    }
}
