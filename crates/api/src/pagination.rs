//! Pages: which one is asked for, and how an answer says which one it is.

use serde::Serialize;
use spawnpoint_model::limits::PAGE_LIMIT_MAX;
use spawnpoint_model::query::{Page, Paged};
use spawnpoint_model::{Invalid, Invalids};
use utoipa::ToSchema;

use crate::error::ApiError;

/// The `pagination` object of a list.
#[derive(Serialize, Debug, PartialEq, Eq, ToSchema)]
pub struct Pagination {
    /// This page, from 1.
    #[schema(example = 1)]
    number: u32,
    #[schema(required, example = 2)]
    next_page_number: Option<u32>,
    #[schema(required, example = json!(null))]
    previous_page_number: Option<u32>,
    paginator: Paginator,
    #[schema(example = true)]
    has_next: bool,
    #[schema(example = false)]
    has_previous: bool,
}

#[derive(Serialize, Debug, PartialEq, Eq, ToSchema)]
struct Paginator {
    /// All pages; at least one.
    #[schema(example = 2)]
    num_pages: u32,
}

impl Pagination {
    /// Of a page of a list.
    #[must_use]
    pub fn of<T>(paged: &Paged<T>) -> Self {
        let Page { number, limit } = paged.page;
        let num_pages =
            u32::try_from(paged.total.div_ceil(u64::from(limit.max(1)))).unwrap_or(u32::MAX).max(1);
        let next = (number < num_pages).then(|| number + 1);
        // From behind the end, one step back leads to the last page.
        let previous = (number > 1).then(|| (number - 1).min(num_pages));
        Self {
            number,
            next_page_number: next,
            previous_page_number: previous,
            paginator: Paginator { num_pages },
            has_next: next.is_some(),
            has_previous: previous.is_some(),
        }
    }
}

/// The parameters of a query string, decoded. Of a repeated one the last counts.
#[derive(Debug, Default)]
pub struct Parameters(Vec<(String, String)>);

impl Parameters {
    /// Reads what stands behind the question mark.
    #[must_use]
    pub fn read(query: Option<&str>) -> Self {
        let pairs = url::form_urlencoded::parse(query.unwrap_or_default().as_bytes());
        Self(pairs.map(|(key, value)| (key.into_owned(), value.into_owned())).collect())
    }

    /// The value of `name`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The page that is asked for. More than the maximum a page is cut down to the maximum.
    ///
    /// # Errors
    /// 400 for what is not a number from 1.
    pub fn page(&self, default_limit: u32) -> Result<Page, ApiError> {
        let mut invalids = Invalids::default();
        let mut read = |name: &str, default: u32| match self.get(name).map(str::trim) {
            None | Some("") => default,
            Some(text) => text.parse().ok().filter(|n| *n >= 1).unwrap_or_else(|| {
                invalids.push(Invalid::new(name, "must be a whole number from 1"));
                default
            }),
        };
        let number = read("page", 1);
        let limit = read("limit", default_limit).min(PAGE_LIMIT_MAX);
        invalids.into_result()?;
        Ok(Page { number, limit })
    }
}

impl<S: Send + Sync> axum::extract::FromRequestParts<S> for Parameters {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(
        parts: &mut axum::http::request::Parts,
        _: &S,
    ) -> Result<Self, Self::Rejection> {
        Ok(Self::read(parts.uri.query()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pagination(number: u32, total: u64) -> Pagination {
        Pagination::of(&Paged::<()> { items: Vec::new(), total, page: Page { number, limit: 10 } })
    }

    #[test]
    fn an_empty_list_has_one_page() {
        let json = serde_json::to_value(pagination(1, 0)).unwrap();
        let expected = serde_json::json!({
            "number": 1, "next_page_number": null, "previous_page_number": null,
            "paginator": {"num_pages": 1}, "has_next": false, "has_previous": false
        });
        assert_eq!(json, expected);
    }

    #[test]
    fn pages_lead_forward_and_back() {
        let middle = pagination(2, 21);
        assert_eq!((middle.previous_page_number, middle.next_page_number), (Some(1), Some(3)));
        assert_eq!(middle.paginator.num_pages, 3);
        assert!(!pagination(3, 21).has_next);
        assert_eq!(pagination(99, 21).previous_page_number, Some(3));
    }

    #[test]
    fn limits_are_cut_and_nonsense_is_named() {
        let page = |query: &str| Parameters::read(Some(query)).page(20);
        assert_eq!(page("").unwrap(), Page { number: 1, limit: 20 });
        assert_eq!(page("page=3&limit=1000").unwrap(), Page { number: 3, limit: 100 });
        assert_eq!(page("page=1&page=2").unwrap().number, 2);
        for bad in ["page=0", "limit=0", "page=-1", "limit=ten", "page=1.5", "page=99999999999"] {
            assert_eq!(page(bad).unwrap_err().status(), 400, "{bad}");
        }
    }
}
