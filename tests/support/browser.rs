//! Chromium through chromedriver.

use super::http::Http;
use super::{Deadline, PATIENCE, Program, skip};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// A browser and its driver. Both end when dropped.
pub struct Browser {
    driver: Program,
    address: SocketAddr,
    session: String,
    profile: PathBuf,
}

impl Browser {
    /// Starts a browser; none where none is installed. With `CI=true` there must be one.
    pub fn start(name: &str) -> Option<Self> {
        Browser::start_with(name, &json!({}))
    }

    /// Starts a browser with these preferences.
    pub fn start_with(name: &str, preferences: &Value) -> Option<Self> {
        let browser = ["chromium", "chromium-browser", "google-chrome"]
            .into_iter()
            .find_map(find_program);
        let (Some(browser), Some(_)) = (browser, find_program("chromedriver")) else {
            let reason =
                "no chromium with chromedriver is installed: the page was tried in no browser";
            assert!(std::env::var("CI").as_deref() != Ok("true"), "{reason}");
            skip(reason);
            return None;
        };
        // Chromedriver wants one port for two addresses and ends if only one of them is free.
        let (driver, address) = (0..20)
            .find_map(|_| start_driver())
            .expect("chromedriver starts");
        let profile = std::env::temp_dir().join(format!("smolchat-{name}-{}", std::process::id()));
        let mut this = Browser {
            driver,
            address,
            session: String::new(),
            profile,
        };
        let arguments = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            &format!("--user-data-dir={}", this.profile.display()),
        ];
        let options = json!({ "binary": browser, "args": arguments, "prefs": preferences });
        let wanted =
            json!({ "capabilities": { "alwaysMatch": { "goog:chromeOptions": options } } });
        let value = this.call("POST", "/session", &wanted);
        this.session = value["sessionId"].as_str().expect("a session").to_owned();
        Some(this)
    }

    #[track_caller]
    pub fn call(&self, method: &str, path: &str, body: &Value) -> Value {
        let body = if method == "POST" {
            body.to_string()
        } else {
            String::new()
        };
        let mut http = Http::connect(self.address);
        http.patience = 2 * PATIENCE;
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        );
        http.send(head.as_bytes());
        let answer = http.answer();
        let value: Value = serde_json::from_slice(&answer.body).expect("JSON of the driver");
        assert_eq!(answer.status, 200, "{method} {path}: {value}");
        value["value"].clone()
    }

    #[track_caller]
    pub fn open(&self, url: &str) {
        self.ask("url", &json!({ "url": url }));
    }

    /// Runs a script and returns its result.
    #[track_caller]
    pub fn run(&self, script: &str) -> Value {
        self.ask("execute/sync", &json!({ "script": script, "args": [] }))
    }

    /// Calls a function of the session.
    #[track_caller]
    fn ask(&self, path: &str, body: &Value) -> Value {
        let path = format!("/session/{}/{path}", self.session);
        self.call("POST", &path, body)
    }

    /// Returns the first element that a selector finds.
    #[track_caller]
    fn element(&self, selector: &str) -> String {
        let found = self.ask(
            "element",
            &json!({ "using": "css selector", "value": selector }),
        );
        let found = found.as_object().and_then(|found| found.values().next());
        found.and_then(Value::as_str).expect(selector).to_owned()
    }

    /// Types into an element, key by key.
    #[track_caller]
    pub fn type_into(&self, selector: &str, text: &str) {
        let element = self.element(selector);
        self.ask(
            &format!("element/{element}/value"),
            &json!({ "text": text }),
        );
    }

    /// Presses keys in the focused element.
    #[track_caller]
    pub fn press(&self, keys: &str) {
        let actions: Vec<Value> = keys
            .chars()
            .flat_map(|key| ["keyDown", "keyUp"].map(|kind| json!({ "type": kind, "value": key })))
            .collect();
        let keyboard = json!({ "type": "key", "id": "keyboard", "actions": actions });
        self.ask("actions", &json!({ "actions": [keyboard] }));
    }

    /// Clicks an element.
    #[track_caller]
    pub fn click(&self, selector: &str) {
        let element = self.element(selector);
        self.ask(&format!("element/{element}/click"), &json!({}));
    }

    /// Sets the size of the window in pixels.
    #[track_caller]
    pub fn resize(&self, width: u32, height: u32) {
        let command = json!({
            "cmd": "Emulation.setDeviceMetricsOverride",
            "params": { "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false },
        });
        self.ask("goog/cdp/execute", &command);
    }

    /// Emulates a phone, with a touch screen instead of a keyboard.
    #[track_caller]
    pub fn emulate_phone(&self) {
        let metrics =
            json!({ "width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": true });
        for (command, params) in [
            ("Emulation.setDeviceMetricsOverride", metrics),
            (
                "Emulation.setTouchEmulationEnabled",
                json!({ "enabled": true }),
            ),
        ] {
            let command = json!({ "cmd": command, "params": params });
            self.ask("goog/cdp/execute", &command);
        }
    }

    /// Goes back to the page before.
    #[track_caller]
    pub fn back(&self) {
        self.ask("back", &json!({}));
    }

    /// Emulates a preference of the user.
    #[track_caller]
    pub fn prefer(&self, feature: &str, value: &str) {
        let features = json!([{ "name": feature, "value": value }]);
        let params = json!({ "features": features });
        let command = json!({ "cmd": "Emulation.setEmulatedMedia", "params": params });
        self.ask("goog/cdp/execute", &command);
    }

    /// Disconnects the browser from the network, or connects it again.
    #[track_caller]
    pub fn set_offline(&self, offline: bool) {
        let conditions = json!({ "offline": offline, "latency": 0, "throughput": 1 << 30 });
        let body = json!({ "network_conditions": conditions });
        self.ask("chromium/network_conditions", &body);
    }

    /// Opens a tab, which gets the focus.
    #[track_caller]
    pub fn open_tab(&self) {
        let tab = self.ask("window/new", &json!({ "type": "tab" }));
        self.ask("window", &json!({ "handle": tab["handle"] }));
    }

    /// Waits until a script returns true.
    #[track_caller]
    pub fn wait_until(&self, what: &str) {
        let script = format!("return Boolean({what})");
        let is_so = Deadline::after(2 * PATIENCE).poll(|| self.run(&script) == json!(true));
        assert!(is_so, "{what} expected\n{}", self.text("body"));
    }

    /// Returns the visible text of an element.
    #[track_caller]
    pub fn text(&self, selector: &str) -> String {
        let script = format!(
            "return document.querySelector({})?.innerText",
            json!(selector)
        );
        self.run(&script).as_str().unwrap_or("").to_owned()
    }

    /// Waits until an element shows this text, or does not.
    #[track_caller]
    pub fn wait_for(&self, selector: &str, text: &str, is_there: bool) {
        let deadline = Deadline::after(2 * PATIENCE);
        let is_so = deadline.poll(|| self.text(selector).contains(text) == is_there);
        let body = || self.text("body");
        assert!(
            is_so,
            "{text:?} in {selector}: {is_there} expected\n{}",
            body()
        );
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The driver ends the browser first. Errors are ignored: the test is over.
        if !self.session.is_empty()
            && let Ok(mut stream) = TcpStream::connect_timeout(&self.address, PATIENCE)
        {
            let _ = stream.set_read_timeout(Some(PATIENCE));
            let head = format!(
                "DELETE /session/{} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
                self.session
            );
            let _ = stream.write_all(head.as_bytes());
            let _ = stream.read(&mut [0; 512]);
        }
        self.driver.kill();
        let _ = std::fs::remove_dir_all(&self.profile);
    }
}

/// Starts the driver; none if it ends before it has a port.
fn start_driver() -> Option<(Program, SocketAddr)> {
    let mut command = Command::new("chromedriver");
    command.arg("--port=0").stdin(Stdio::null());
    let mut driver = Program::spawn(command);
    let mut port = None;
    let _ = Deadline::new().poll(|| {
        let has_ended = driver.try_wait().is_some();
        let lines = driver.stdout.lines();
        let mut ports = lines
            .iter()
            .filter_map(|line| line.split("successfully on port ").nth(1));
        port = ports
            .next()
            .and_then(|port| port.trim_end_matches('.').parse().ok());
        port.is_some() || has_ended
    });
    port.map(|port: u16| (driver, SocketAddr::from(([127, 0, 0, 1], port))))
}

/// Returns the program of this name in `PATH`.
pub fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
}

// Keys of WebDriver.

pub const ENTER: char = '\u{e007}';
/// Held until [`RELEASE`].
pub const SHIFT: char = '\u{e008}';
/// Releases the held keys.
pub const RELEASE: char = '\u{e000}';
pub const TAB: char = '\u{e004}';
pub const ESCAPE: char = '\u{e00c}';
pub const UP: char = '\u{e013}';
