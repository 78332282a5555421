//! Who a container's program runs as: what an image writes (`user`, `user:group`, names or numbers), looked up in its files.
//! Pure.

/// User, groups and home.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// The other groups.
    pub groups: Vec<u32>,
    /// Home directory.
    pub home: String,
}

/// Ids above this are not ids.
const ID_MAX: u32 = i32::MAX as u32;

/// Looks a user up.
///
/// # Errors
/// A sentence for users.
pub fn find(wanted: &str, passwd: &str, group: &str) -> Result<User, String> {
    let (user, chosen_group) = match wanted.split_once(':') {
        Some((user, group)) => (user, Some(group).filter(|group| !group.is_empty())),
        None => (wanted, None),
    };
    let number = |text: &str| text.parse::<u32>().ok().filter(|id| *id <= ID_MAX);
    let user = if user.is_empty() { "0" } else { user };
    let lines = || passwd.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let is = |words: &[&str]| {
        let uid = words.get(2).and_then(|uid| number(uid));
        words.first() == Some(&user) || (uid.is_some() && uid == number(user))
    };
    // A name that is written like a number is a name first.
    let by_name = lines().find(|words| words.first() == Some(&user));
    let entry = by_name.or_else(|| lines().find(|words| is(words)));
    let entry = entry.as_deref().filter(|words| words.len() >= 4);
    let uid = entry.and_then(|words| number(words[2])).or_else(|| number(user));
    let uid = uid.ok_or_else(|| format!("the image has no user {user:?}"))?;
    let own_group = entry.and_then(|words| number(words[3])).unwrap_or(0);
    let home = entry.and_then(|words| words.get(5)).filter(|home| !home.is_empty());
    let home = home.map_or("/", |home| *home).to_owned();
    let groups = || group.lines().map(|line| line.split(':').collect::<Vec<_>>()).filter(|w| w.len() >= 3);
    if let Some(chosen) = chosen_group {
        let named = groups().find(|words| words[0] == chosen).and_then(|words| number(words[2]));
        let gid = named.or_else(|| number(chosen));
        let gid = gid.ok_or_else(|| format!("the image has no group {chosen:?}"))?;
        return Ok(User { uid, gid, groups: Vec::new(), home });
    }
    let name = entry.map(|words| words[0]);
    let is_member = |words: &Vec<&str>| {
        words.get(3).is_some_and(|members| {
            members.split(',').any(|member| Some(member) == name && !member.is_empty())
        })
    };
    let mut others: Vec<u32> = groups().filter(is_member).filter_map(|words| number(words[2])).collect();
    others.sort_unstable();
    others.dedup();
    Ok(User { uid, gid: own_group, groups: others, home })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str =
        "root:x:0:0:root:/root:/bin/sh\nsteam:x:1000:1000::/home/steam:/bin/sh\nbad\n99:x:7:8::/n:/x\n";
    const GROUP: &str = "root:x:0:\nsteam:x:1000:\naudio:x:29:other,steam\nempty:x:30:\n";

    fn ids(wanted: &str) -> (u32, u32, Vec<u32>) {
        let user = find(wanted, PASSWD, GROUP).unwrap();
        (user.uid, user.gid, user.groups)
    }

    #[test]
    fn names_and_numbers_are_found_in_the_images_files() {
        assert_eq!(ids(""), (0, 0, vec![]));
        assert_eq!(ids("steam"), (1000, 1000, vec![29]));
        assert_eq!(ids("1000"), (1000, 1000, vec![29]));
        assert_eq!(ids("steam:audio"), (1000, 29, vec![]));
        assert_eq!(ids("4711"), (4711, 0, vec![]));
        assert_eq!(ids("65532:65532"), (65532, 65532, vec![]));
        assert_eq!(ids("99"), (7, 8, vec![]));
        assert_eq!(find("steam", PASSWD, GROUP).unwrap().home, "/home/steam");
        assert_eq!(find("4711", PASSWD, GROUP).unwrap().home, "/");
    }

    #[test]
    fn who_is_not_there_is_named() {
        assert!(find("nobody", PASSWD, GROUP).unwrap_err().contains("nobody"));
        assert!(find("steam:video", PASSWD, GROUP).unwrap_err().contains("video"));
        assert!(find("-1", PASSWD, GROUP).is_err());
        assert!(find("4294967295", PASSWD, GROUP).is_err());
    }
}
