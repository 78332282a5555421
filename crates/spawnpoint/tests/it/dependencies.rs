//! Dependencies keep to `deny.toml`, on machines without cargo-deny too.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::workspace::{members, metadata, root};

/// Packages that are shipped: reached from the workspace without what only tests use.
fn shipped() -> Vec<&'static Value> {
    let nodes: BTreeMap<_, _> = metadata()["resolve"]["nodes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|node| (node["id"].as_str().unwrap(), node["deps"].as_array().unwrap()))
        .collect();
    let mut seen = BTreeSet::new();
    let mut next: Vec<&str> = members().iter().map(|package| package["id"].as_str().unwrap()).collect();
    while let Some(id) = next.pop() {
        if seen.insert(id) {
            let used =
                |dep: &&Value| dep["dep_kinds"].as_array().unwrap().iter().any(|kind| kind["kind"] != "dev");
            next.extend(nodes[id].iter().filter(used).map(|dep| dep["pkg"].as_str().unwrap()));
        }
    }
    let packages = metadata()["packages"].as_array().unwrap();
    packages.iter().filter(|package| seen.contains(package["id"].as_str().unwrap())).collect()
}

/// Whether a licence expression can be met with the allowed ones: `A AND (B OR C)`, `A/B`.
fn can_be_met(expression: &str, allowed: &BTreeSet<&str>) -> bool {
    let expression = expression.replace('/', " OR ");
    let mut tokens = Vec::new();
    for word in expression.replace('(', " ( ").replace(')', " ) ").split_whitespace() {
        // "X WITH Y" is one licence.
        let last: Option<&mut String> = tokens.last_mut();
        match last {
            Some(last) if word == "WITH" || last.ends_with(" WITH") => {
                last.push(' ');
                last.push_str(word);
            }
            _ => tokens.push(word.to_owned()),
        }
    }
    let mut tokens = tokens.into_iter().peekable();
    let met = any_of(&mut tokens, allowed);
    assert_eq!(tokens.next(), None, "not understood: {expression}");
    met
}

type Tokens = std::iter::Peekable<std::vec::IntoIter<String>>;

fn any_of(tokens: &mut Tokens, allowed: &BTreeSet<&str>) -> bool {
    let mut met = all_of(tokens, allowed);
    while tokens.next_if(|word| word == "OR").is_some() {
        met |= all_of(tokens, allowed);
    }
    met
}

fn all_of(tokens: &mut Tokens, allowed: &BTreeSet<&str>) -> bool {
    let mut met = one(tokens, allowed);
    while tokens.next_if(|word| word == "AND").is_some() {
        met &= one(tokens, allowed);
    }
    met
}

fn one(tokens: &mut Tokens, allowed: &BTreeSet<&str>) -> bool {
    match tokens.next().as_deref() {
        Some("(") => {
            let met = any_of(tokens, allowed);
            assert_eq!(tokens.next().as_deref(), Some(")"));
            met
        }
        Some(licence) => allowed.contains(licence),
        None => false,
    }
}

#[test]
fn dependencies_keep_to_deny_toml() {
    let text = std::fs::read_to_string(root().join("deny.toml")).unwrap();
    let deny: toml::Table = text.parse().unwrap();
    let allowed: BTreeSet<_> =
        deny["licenses"]["allow"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    let banned: BTreeMap<_, _> = deny["bans"]["deny"]
        .as_array()
        .unwrap()
        .iter()
        .map(|ban| (ban["crate"].as_str().unwrap(), ban["reason"].as_str().unwrap()))
        .collect();
    let shipped = shipped();
    assert!(shipped.len() > members().len(), "the graph was not read");
    for package in shipped {
        let name = package["name"].as_str().unwrap();
        assert!(!banned.contains_key(name), "{name} is banned: {}", banned[name]);
        let licence = package["license"].as_str().unwrap_or_default();
        assert!(
            can_be_met(licence, &allowed),
            "{name} has the licence {licence:?}, which deny.toml does not allow"
        );
    }
}

#[test]
fn a_licence_expression_is_met_by_what_is_allowed_only() {
    let allowed = BTreeSet::from(["MIT", "Apache-2.0 WITH LLVM-exception"]);
    for met in ["MIT", "MIT/GPL-3.0", "(MIT OR GPL-3.0) AND MIT", "Apache-2.0 WITH LLVM-exception OR GPL-3.0"]
    {
        assert!(can_be_met(met, &allowed), "{met}");
    }
    for unmet in ["", "GPL-3.0", "MIT AND GPL-3.0", "(GPL-2.0 OR GPL-3.0) AND MIT", "Apache-2.0"] {
        assert!(!can_be_met(unmet, &allowed), "{unmet}");
    }
}
