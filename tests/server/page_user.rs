//! A user of the API of the page; each response must fit the API description.

use crate::support::http::{Answer, Events, Http};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::time::Duration;

/// Short for a test, long for what is done in between.
pub(crate) const SHORT: Duration = Duration::from_millis(800);

/// The description of the API.
pub(crate) fn description() -> Value {
    serde_json::from_str(include_str!("../../web/openapi.json")).expect("JSON")
}

/// Checks an answer against the description.
#[track_caller]
pub(crate) fn must_be_described(method: &str, path: &str, answer: &Answer) {
    let description = description();
    let path = path.split('?').next().unwrap_or(path);
    let operation = &description["paths"][path][method.to_lowercase()];
    let status = answer.status.to_string();
    let response = &operation["responses"][&status];
    let response = match response["$ref"].as_str() {
        Some(place) => description
            .pointer(place.trim_start_matches('#'))
            .expect(place),
        None => response,
    };
    assert!(response.is_object(), "{method} {path}: {answer:?}");
    let media_type = answer.header("content-type");
    let schema = &response["content"][media_type]["schema"];
    assert!(schema.is_object(), "{method} {path}: {answer:?}");
    let value: Value = serde_json::from_slice(&answer.body).expect("JSON");
    must_fit(&description, schema, &value);
}

/// Checks a value against as much of a schema as the description uses.
#[track_caller]
pub(crate) fn must_fit(description: &Value, schema: &Value, value: &Value) {
    let schema = match schema["$ref"].as_str() {
        Some(place) => description
            .pointer(place.trim_start_matches('#'))
            .expect(place),
        None => schema,
    };
    let kinds = match &schema["type"] {
        Value::Array(kinds) => kinds.clone(),
        kind => vec![kind.clone()],
    };
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    assert!(kinds.contains(&json!(kind)), "{value} is no {schema}");
    for required in schema["required"].as_array().into_iter().flatten() {
        let name = required.as_str().expect("a name");
        assert!(value.get(name).is_some(), "{name} is missing in {value}");
    }
    for (name, inner) in value.as_object().into_iter().flatten() {
        if schema["properties"].is_object() {
            let described = &schema["properties"][name];
            assert!(described.is_object(), "{name} of {value} is not described");
            must_fit(description, described, inner);
        }
    }
    for inner in value.as_array().into_iter().flatten() {
        must_fit(description, &schema["items"], inner);
    }
}

/// A browser as far as the server sees one.
#[derive(Clone, Debug)]
pub(crate) struct Browser {
    pub(crate) web: SocketAddr,
    pub(crate) cookie: String,
}

impl Browser {
    pub(crate) fn new(web: SocketAddr) -> Self {
        Browser {
            web,
            cookie: String::new(),
        }
    }

    /// One who has joined under this name.
    #[track_caller]
    pub(crate) fn join(web: SocketAddr, name: &str) -> Self {
        let mut browser = Browser::new(web);
        let answer = browser.post("/api/session", &json!({ "name": name }));
        assert_eq!(answer.status, 201, "{answer:?}");
        assert_eq!(answer.json()["name"], name);
        browser
    }

    #[track_caller]
    pub(crate) fn send(&mut self, method: &str, path: &str, fields: &str, body: &str) -> Answer {
        let cookie = match self.cookie.as_str() {
            "" => String::new(),
            cookie => format!("Cookie: {cookie}\r\n"),
        };
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\n{fields}{cookie}\
             Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
        );
        let mut http = Http::connect(self.web);
        http.send(request.as_bytes());
        let answer = http.answer();
        must_be_described(method, path, &answer);
        if let Some(cookie) = answer.headers.get("set-cookie") {
            let (pair, attributes) = cookie.split_once(';').expect("attributes");
            for attribute in ["HttpOnly", "SameSite=Strict", "Path=/"] {
                assert!(attributes.contains(attribute), "{cookie}");
            }
            self.cookie = pair.to_owned();
        }
        answer
    }

    #[track_caller]
    pub(crate) fn act(&mut self, method: &str, path: &str, body: &str) -> Answer {
        let fields = "Origin: http://localhost\r\nContent-Type: application/json\r\n";
        self.send(method, path, fields, body)
    }

    #[track_caller]
    pub(crate) fn post(&mut self, path: &str, body: &Value) -> Answer {
        self.act("POST", path, &body.to_string())
    }

    #[track_caller]
    pub(crate) fn say(&mut self, text: &str) -> u64 {
        let answer = self.post("/api/messages", &json!({ "message": text }));
        assert_eq!(answer.status, 201, "{answer:?}");
        let id = answer.json()["id"].as_u64().expect("a number");
        assert_eq!(answer.header("location"), format!("/m/{id}"));
        id
    }

    #[track_caller]
    pub(crate) fn listen(&self) -> Events {
        let mut events = self.listen_after("");
        events.expect("snapshot");
        events
    }

    #[track_caller]
    pub(crate) fn listen_after(&self, place: &str) -> Events {
        let last = match place {
            "" => String::new(),
            place => format!("Last-Event-ID: {place}\r\n"),
        };
        let cookie = &self.cookie;
        Events::open_with(self.web, &format!("Cookie: {cookie}\r\n{last}"))
    }

    #[track_caller]
    pub(crate) fn must_be_refused(
        &mut self,
        path: &str,
        body: &Value,
        status: u16,
        code: &str,
    ) -> Value {
        let answer = self.post(path, body);
        problem(&answer, status, code)
    }
}

/// An answer that must be this problem.
#[track_caller]
pub(crate) fn problem(answer: &Answer, status: u16, code: &str) -> Value {
    assert_eq!(answer.status, status, "{answer:?}");
    assert_eq!(answer.header("content-type"), "application/problem+json");
    let problem: Value = serde_json::from_slice(&answer.body).expect("JSON");
    assert_eq!(problem["code"], code, "{problem}");
    assert_eq!(problem["status"], status);
    let title = problem["title"].as_str().unwrap_or_default();
    assert_eq!(answer.status_line, format!("HTTP/1.1 {status} {title}"));
    let detail = problem["detail"].as_str().unwrap_or_default();
    assert!(detail.len() > 10, "{problem}");
    let wait = problem["retry_after_ms"].as_u64();
    let told = answer.header("retry-after").parse::<u64>().ok();
    assert_eq!(told, wait.map(|wait| wait.div_ceil(1000)), "{answer:?}");
    problem
}
