//! When the next order is due. Pure: time and chance come in.

use std::time::Duration;

/// Between two tries, at most.
pub const RETRY_MAX: Duration = Duration::from_secs(6 * 3600);
/// What an authority may ask for: who says longer is asked once a day all the same.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(24 * 3600);

/// When a certificate is replaced, in seconds since 1970: after two thirds of its life, or up to a twentieth of it
/// earlier, so that not everybody asks at once.
#[must_use]
pub const fn renew_at(not_before: u64, not_after: u64, chance: u64) -> u64 {
    let life = not_after.saturating_sub(not_before);
    (not_before + life / 3 * 2).saturating_sub(chance % (life / 20 + 1))
}

/// How long to wait after so many failures in a row (at least one), as the authority wishes, if it does: `first`, then
/// twice as long each time up to [`RETRY_MAX`], and up to a quarter more.
#[must_use]
pub fn retry_in(first: Duration, failures: u32, wish: Option<Duration>, chance: u64) -> Duration {
    let doubled = first.saturating_mul(1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX));
    let wait = doubled.min(RETRY_MAX);
    let millis = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
    let wait = wait + Duration::from_millis(chance % (millis / 4 + 1));
    wait.max(wish.unwrap_or_default().min(RETRY_AFTER_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 24 * 3600;

    #[test]
    fn a_certificate_is_replaced_after_two_thirds_of_its_life_and_not_much_earlier() {
        for chance in [0, 1, 17, 5 * DAY, u64::MAX] {
            let at = renew_at(1000, 1000 + 90 * DAY, chance);
            assert!((1000 + 55 * DAY..=1000 + 60 * DAY).contains(&at), "{chance}: {at}");
        }
        // Whatever an authority writes into it.
        assert_eq!((renew_at(5, 5, 9), renew_at(9, 5, 9), renew_at(0, u64::MAX, 0) > 0), (5, 9, true));
    }

    #[test]
    fn waits_double_up_to_a_bound_and_are_never_nothing() {
        let first = Duration::from_secs(300);
        let waits = |failures| retry_in(first, failures, None, 0).as_secs();
        assert_eq!(
            [1, 2, 3, 4, 7, 8, 40, u32::MAX].map(waits),
            [300, 600, 1200, 2400, 19200, 21600, 21600, 21600]
        );
        assert!(retry_in(first, 1, None, u64::MAX) <= Duration::from_secs(375));
        assert_eq!(retry_in(first, 0, None, 0), first);
    }

    #[test]
    fn an_authority_is_left_alone_for_as_long_as_it_wishes_up_to_a_day() {
        let first = Duration::from_secs(300);
        let wait = |wish| retry_in(first, 1, Some(Duration::from_secs(wish)), 0).as_secs();
        assert_eq!([10, 4000, 10 * DAY].map(wait), [300, 4000, DAY]);
    }
}
