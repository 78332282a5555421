//! The environment as a layer of the configuration: `SPAWNPOINT_API__LISTEN` is `api.listen`.

use toml::{Table, Value};

use super::{Config, Problem};

/// The environment's variables that begin with `SPAWNPOINT_`, sorted by name.
#[derive(Clone, Debug, Default)]
pub struct Variables(Vec<(String, String)>);

impl Variables {
    /// Takes those that are ours.
    pub fn new(all: impl IntoIterator<Item = (String, String)>) -> Self {
        let mut ours: Vec<_> = all.into_iter().filter(|(name, _)| name.starts_with("SPAWNPOINT_")).collect();
        ours.sort();
        Self(ours)
    }

    /// From the process's environment; names and values that are not UTF-8 are not ours.
    #[must_use]
    pub fn from_process() -> Self {
        Self::new(
            std::env::vars_os()
                .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?))),
        )
    }

    /// The value of one variable.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Those that name an option: variable, path of keys, value.
    fn options(&self) -> impl Iterator<Item = (&str, Vec<String>, &str)> {
        self.0.iter().filter_map(|(name, value)| {
            let path = name.strip_prefix("SPAWNPOINT_").filter(|path| path.contains("__"))?;
            Some((
                name.as_str(),
                path.to_lowercase().split("__").map(str::to_owned).collect(),
                value.as_str(),
            ))
        })
    }
}

/// Puts the variables over `config`, which was read from `text`. Each is tried by itself, so that a mistake names the
/// variable it is in.
pub(super) fn apply(config: Config, text: &str, variables: &Variables) -> Result<Config, Problem> {
    let mut config = config;
    let mut layers: Option<Table> = None;
    for (name, path, raw) in variables.options() {
        let mut table = match layers.take() {
            Some(table) => table,
            None => text.parse::<Table>().map_err(|err| Problem::from_toml(&err))?,
        };
        let mut first_error = None;
        for value in readings(raw) {
            set(&mut table, &path, value)
                .map_err(|()| Problem::at(name, format!("no option `{}`", path.join("."))))?;
            match table.clone().try_into::<Config>() {
                Ok(with_it) => {
                    config = with_it;
                    first_error = None;
                    break;
                }
                Err(err) => drop(first_error.get_or_insert(err)),
            }
        }
        if let Some(err) = first_error {
            return Err(Problem::at(name, format!("{} (in the environment)", err.message())));
        }
        layers = Some(table);
    }
    Ok(config)
}

/// What a variable's text may mean, in the order in which it is tried: a TOML value (`40`, `true`, `["10.0.0.0/8"]`), and
/// the text itself.
fn readings(raw: &str) -> Vec<Value> {
    let as_text = Value::String(raw.to_owned());
    match toml::from_str::<Table>(&format!("value = {raw}")).ok().and_then(|mut table| table.remove("value"))
    {
        Some(value) => vec![value, as_text],
        None => vec![as_text],
    }
}

/// Sets the value at `path`, making the tables on the way.
fn set(table: &mut Table, path: &[String], value: Value) -> Result<(), ()> {
    let (last, sections) = path.split_last().ok_or(())?;
    let mut table = table;
    for section in sections {
        let inner = table.entry(section.clone()).or_insert_with(|| Value::Table(Table::new()));
        table = inner.as_table_mut().ok_or(())?;
    }
    table.insert(last.clone(), value);
    Ok(())
}

/// Variables that look like an option written with one underscore: they do nothing.
pub(super) fn warnings(variables: &Variables) -> Vec<String> {
    let sections = [
        "API",
        "STORE",
        "SECRETS",
        "LIMITS",
        "WEBHOOKS",
        "BEACON",
        "CALLBACK",
        "RETENTION",
        "LOG",
        "GEO",
        "DOMAIN",
        "DNS",
        "TLS",
        "DATA",
    ];
    let mistaken = |name: &str| {
        let rest = name.strip_prefix("SPAWNPOINT_").filter(|rest| !rest.contains("__"))?;
        let (section, key) = rest.split_once('_')?;
        sections.contains(&section).then(|| {
            format!("{name} in the environment does nothing; if an option is meant, it is SPAWNPOINT_{section}__{key}")
        })
    };
    variables.0.iter().filter_map(|(name, _)| mistaken(name)).collect()
}
