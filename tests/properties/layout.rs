//! The layers and type names of `src`, and the sizes of files and folders.

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;

/// Layers below a path, lowest first. A module imports modules of lower layers only.
const LAYERS: [(&str, &str); 2] = [
    ("crate", "limits chat protocol storage,cli server,client"),
    (
        "crate::server",
        "limits,timeout,health rate_limit close_reason config options,logging,metrics,snapshot \
         fanout command context supervise connection listener,broker http",
    ),
];

/// Ceilings for the lines of Rust in folders. They only go down.
const MAX_LINES: [(&[&str], usize); 2] = [(&["src"], 34_350), (&["tests", "benches"], 24_600)];
const MAX_FILE_LINES: usize = 600;

/// Returns path and text of each Rust file of a folder.
fn files(folder: &str) -> Vec<(String, String)> {
    let mut paths = vec![PathBuf::from(folder)];
    let mut files = Vec::new();
    while let Some(path) = paths.pop() {
        // Cargo's folder of the fuzz targets has generated code.
        if path.ends_with("target") {
            continue;
        }
        if path.is_dir() {
            let entries = fs::read_dir(path).expect("a folder");
            paths.extend(entries.map(|entry| entry.expect("an entry").path()));
        } else if path.extension().is_some_and(|end| end == "rs") {
            let text = fs::read_to_string(&path).expect("a text file");
            files.push((path.to_string_lossy().into_owned(), text));
        }
    }
    files
}

/// Returns module path and code of each file of `src`, without tests and comments.
fn modules() -> Vec<(String, String)> {
    let files = files("src").into_iter().map(|(path, text)| {
        let module = path.trim_end_matches(".rs").replacen("src", "crate", 1);
        let code = text.split("#[cfg(test)]\nmod tests {").next();
        let lines = code.unwrap_or_default().lines();
        let code: Vec<&str> = lines
            .filter(|line| !line.trim().starts_with("//"))
            .collect();
        (module.replace('/', "::"), code.join("\n"))
    });
    files
        .filter(|(path, _)| !path.contains("::tests"))
        .collect()
}

/// Returns the words that follow `prefix` in the code.
fn words_after<'a>(code: &'a str, prefix: &str) -> impl Iterator<Item = &'a str> {
    let rests = code
        .match_indices(prefix)
        .map(|(at, found)| &code[at + found.len()..]);
    rests.filter_map(|rest| {
        rest.split(|c: char| !c.is_alphanumeric() && c != '_')
            .next()
    })
}

#[test]
fn modules_import_lower_layers_only() {
    let mut wrong = Vec::new();
    for (parent, layers) in LAYERS {
        let layers: Vec<&str> = layers.split(' ').collect();
        let place = |name: &str| {
            layers
                .iter()
                .position(|layer| layer.split(',').any(|n| n == name))
        };
        let prefix = format!("{parent}::");
        for (module, code) in modules() {
            let Some(name) = words_after(&module, &prefix).next() else {
                continue;
            };
            // The root of a folder and the programs import everything.
            let Some(own) = place(name) else { continue };
            for used in words_after(&code, &prefix).filter(|used| *used != name) {
                if place(used).is_some_and(|layer| layer >= own) {
                    wrong.push(format!("{module} imports {prefix}{used}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn type_names_are_unique() {
    let mut places: HashMap<String, Vec<String>> = HashMap::new();
    for (module, code) in modules() {
        for line in code.lines() {
            let visible = ["pub(crate) ", "pub(super) ", "pub "];
            let item = visible.iter().find_map(|start| line.strip_prefix(start));
            let mut words = item.unwrap_or(line).split(|c: char| !c.is_alphanumeric());
            if matches!(words.next(), Some("struct" | "enum" | "trait" | "type")) {
                let name = words.next().unwrap_or_default().to_owned();
                places.entry(name).or_default().push(module.clone());
            }
        }
    }
    places.retain(|_, modules| modules.len() > 1);
    assert!(places.is_empty(), "{places:#?}");
}

#[test]
fn folders_do_not_grow() {
    for (folders, max) in MAX_LINES {
        let files = folders.iter().flat_map(|folder| files(folder));
        let sum: usize = files.map(|(_, text)| text.lines().count()).sum();
        assert!(sum <= max, "{folders:?}: {sum} lines, more than {max}");
    }
}

#[test]
fn files_are_small() {
    let files = files("src").into_iter().chain(files("tests"));
    let sizes = files.map(|(path, text)| (path, text.lines().count()));
    let long: Vec<_> = sizes.filter(|(_, lines)| *lines > MAX_FILE_LINES).collect();
    assert!(long.is_empty(), "{long:#?}");
}
