//! The list query as SQL. Field names and operators come from closed sets, everything a user wrote is a parameter.

use spawnpoint_model::Deployment;
use spawnpoint_model::query::{Condition, ListQuery, Ordering, Page, Paged, SortField, TextMatch};

use crate::deployments::deployment;
use crate::error::StoreError;
use crate::sql::{Query, Value};
use crate::store::Store;

impl Store {
    /// One page of the deployments that have not ended and satisfy `query`, newest first unless it says otherwise.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn list_deployments(
        &self,
        query: &ListQuery,
        page: Page,
    ) -> Result<Paged<Deployment>, StoreError> {
        let (total, items) = compile(query);
        self.page(total, items, page, deployment).await
    }

    /// All deployments that have not ended and satisfy `query`, in its order.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn all_deployments(&self, query: &ListQuery) -> Result<Vec<Deployment>, StoreError> {
        self.all(compile_all(query), deployment).await
    }
}

/// A longer pattern matches nothing, as no name is that long. SQLite would refuse it from 50,000 bytes on.
const PATTERN_BYTES_MAX: usize = 10_000;

/// A WHERE clause that grows together with its parameters.
#[derive(Default)]
struct Where {
    text: String,
    args: Vec<Value>,
}

impl Where {
    /// The placeholder of a new parameter.
    fn arg(&mut self, value: impl Into<Value>) -> String {
        self.args.push(value.into());
        format!("${}", self.args.len())
    }

    fn args(&mut self, values: impl IntoIterator<Item = impl Into<Value>>) -> String {
        values.into_iter().map(|value| self.arg(value)).collect::<Vec<_>>().join(", ")
    }

    fn and(&mut self, condition: &str) {
        self.text.push_str(" and ");
        self.text.push_str(condition);
    }

    /// `column` holds (`holds`) or does not hold one of `values`. Nothing is one of none, and a row without a value
    /// is not one of any.
    fn one_of(&mut self, column: &str, values: Vec<Value>, holds: bool) {
        let is_empty = values.is_empty();
        let list = self.args(values);
        let condition = match (holds, is_empty) {
            (true, true) => "1 = 0".to_owned(),
            (false, true) => "1 = 1".to_owned(),
            (true, false) => format!("{column} in ({list})"),
            (false, false) => format!("({column} is null or {column} not in ({list}))"),
        };
        self.and(&condition);
    }

    fn text(&mut self, column: &str, how: &TextMatch) {
        let values = |texts: &[String]| texts.iter().map(|text| text.as_str().into()).collect();
        match how {
            TextMatch::In(texts) => self.one_of(column, values(texts), true),
            TextMatch::NotIn(texts) => self.one_of(column, values(texts), false),
            TextMatch::Like(pattern) if pattern.len() > PATTERN_BYTES_MAX => self.and("1 = 0"),
            TextMatch::Like(pattern) => {
                let pattern = self.arg(like_pattern(pattern));
                self.and(&format!("lower({column}) like lower({pattern}) escape '!'"));
            }
        }
    }

    fn compare(&mut self, column: &str, how: Ordering, value: impl Into<Value>) {
        let operator = match how {
            Ordering::Eq => "=",
            Ordering::Neq => "<>",
            Ordering::Lt => "<",
            Ordering::Lte => "<=",
            Ordering::Gt => ">",
            Ordering::Gte => ">=",
        };
        let value = self.arg(value);
        self.and(&format!("{column} {operator} {value}"));
    }

    fn tags(&mut self, names: &[String], has: bool) {
        let mut tags = Self { text: String::new(), args: std::mem::take(&mut self.args) };
        tags.one_of("t.name", names.iter().map(|name| name.as_str().into()).collect(), true);
        self.args = tags.args;
        let not = if has { "" } else { "not " };
        let text = tags.text;
        self.and(&format!(
            "{not}exists (select 1 from deployment_tags t where t.deployment_id = d.id{text})"
        ));
    }

    fn condition(&mut self, condition: &Condition) {
        match condition {
            Condition::Status(status, is) => self.one_of("d.status", vec![status.as_str().into()], *is),
            Condition::Id(ids, is) => self.one_of("d.id", ids.iter().map(|id| (*id).into()).collect(), *is),
            Condition::Tags(names, has) => self.tags(names, *has),
            Condition::Application(how) => self.text("d.app", how),
            Condition::Version(how) => self.text("d.version", how),
            Condition::Fleet(how) => self.text(FLEET, how),
            Condition::Host(how) => self.text("d.host", how),
            Condition::CreatedAt(how, time) => self.compare("d.created_at", *how, *time),
            Condition::Joinable(joinable) => self.compare("d.joinable", Ordering::Eq, *joinable),
            Condition::AvailableSockets(how, sockets) => self.compare("d.available_sockets", *how, *sockets),
        }
    }
}

/// The fleet that a deployment was made by, or else the private fleet of its host.
const FLEET: &str = "coalesce(d.fleet, (select h.private_fleet from host_settings h where h.host = d.host))";

/// Only `%` is special to users, so the other special characters of LIKE stand for themselves.
fn like_pattern(pattern: &str) -> String {
    pattern.replace('!', "!!").replace('_', "!_")
}

/// `from` and `where`, and the parameters.
fn selection(query: &ListQuery) -> (String, Vec<Value>) {
    let mut rows = Where::default();
    if !query.apps.is_empty() {
        rows.one_of("d.app", query.apps.iter().map(Value::from).collect(), true);
    }
    for condition in &query.conditions {
        rows.condition(condition);
    }
    let Where { text, args } = rows;
    // `live = 1` stands literally, so that both databases see that the partial index fits.
    (format!("from deployments d where d.live = 1{text}"), args)
}

/// The question for the number of items, and the one for a page of them (limit and offset are still to be added).
fn compile(query: &ListQuery) -> (Query, Query) {
    let (from, args) = selection(query);
    let (limit, offset) = (args.len() + 1, args.len() + 2);
    let order = order_by(query);
    let items = format!(
        "select d.id, d.generation, d.spec, d.state {from} order by {order} limit ${limit} offset ${offset}"
    );
    (Query::new(format!("select count(*) {from}"), args.clone()), Query::new(items, args))
}

/// The question for all items.
fn compile_all(query: &ListQuery) -> Query {
    let (from, args) = selection(query);
    let order = order_by(query);
    Query::new(format!("select d.id, d.generation, d.spec, d.state {from} order by {order}"), args)
}

/// The sort keys, then newest first, with the id as the last tie-break. Rows without sockets come last either way.
fn order_by(query: &ListQuery) -> String {
    let mut keys = Vec::new();
    for (field, descending) in &query.order_by {
        let order = if *descending { " desc" } else { "" };
        match field {
            SortField::CreatedAt => keys.push(format!("d.created_at{order}")),
            SortField::AvailableSockets => {
                keys.push("(d.available_sockets is null)".to_owned());
                keys.push(format!("d.available_sockets{order}"));
            }
        }
    }
    keys.push("d.created_at desc".to_owned());
    keys.push("d.id desc".to_owned());
    keys.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_users_write_becomes_a_parameter_and_never_text() {
        let evil = "x'); drop table deployments; --".to_owned();
        let conditions = vec![
            Condition::Tags(vec![evil.clone()], false),
            Condition::Application(TextMatch::In(vec![evil.clone()])),
            Condition::Host(TextMatch::Like(evil.clone())),
        ];
        let (total, items) = compile(&ListQuery { conditions, ..ListQuery::default() });
        assert!(!total.sql.contains("drop") && !items.sql.contains("drop"));
        assert_eq!(total.args.len(), 3);
        assert!(items.sql.ends_with("limit $4 offset $5"), "{}", items.sql);
    }

    #[test]
    fn only_the_percent_sign_is_a_wildcard() {
        assert_eq!(like_pattern("a_b!c%"), "a!_b!!c%");
    }
}
