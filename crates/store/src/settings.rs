//! Facts about the installation itself: its id, the check value of its master key.

use spawnpoint_model::{InstallationId, Plaintext, Sealed};

use crate::error::StoreError;
use crate::sql::{Query, args};
use crate::store::Store;
use crate::tx::Tx;
use crate::vault::{Vault, random};

const INSTALLATION: &str = "installation_id";
const KEY_CHECK: &str = "master_key_check";

impl Tx {
    /// Sets a setting, whatever it was.
    pub fn set_setting(&mut self, key: &str, value: &str) {
        let sql = "insert into settings (key, value) values ($1, $2) on conflict (key) do update set value = excluded.value";
        self.run(sql, args![key, value]);
    }

    /// Sets a setting unless it is set.
    pub fn set_setting_once(&mut self, key: &str, value: &str) {
        let sql = "insert into settings (key, value) values ($1, $2) on conflict (key) do nothing";
        self.run(sql, args![key, value]);
    }
}

impl Store {
    /// A setting.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn find_setting(&self, key: &str) -> Result<Option<String>, StoreError> {
        let query = Query::new("select value from settings where key = $1", args![key]);
        self.first(query, |row| Ok(row.text(0)?.to_owned())).await
    }

    /// Ties the database to a master key: the first time it leaves a sealed check value, later it tries to open it.
    /// To be called once after opening, before anything is sealed.
    ///
    /// # Errors
    /// [`StoreError::WrongMasterKey`], or the database cannot be used.
    pub async fn check_master_key(&self, vault: &Vault) -> Result<(), StoreError> {
        if self.is_writable() && self.find_setting(KEY_CHECK).await?.is_none() {
            let sealed = vault.seal(&Plaintext::new(self.installation().as_str()), KEY_CHECK)?;
            let mut tx = Tx::new();
            tx.set_setting_once(KEY_CHECK, &sealed.0);
            self.commit(tx).await?;
        }
        // Read again: another control plane with another key may have been first.
        match self.find_setting(KEY_CHECK).await? {
            None => Ok(()),
            Some(sealed) => vault.open(&Sealed(sealed), KEY_CHECK).map(drop),
        }
    }

    pub(crate) async fn find_or_make_installation(&self) -> Result<InstallationId, StoreError> {
        if let Some(id) = self.find_setting(INSTALLATION).await? {
            return Ok(id.into());
        }
        let bytes: [u8; 8] = random()?;
        let mut tx = Tx::new();
        tx.set_setting_once(INSTALLATION, &format!("{:016x}", u64::from_be_bytes(bytes)));
        self.commit(tx).await?;
        let id = self.find_setting(INSTALLATION).await?;
        id.map(Into::into).ok_or_else(|| StoreError::Corrupt("the installation has no id".into()))
    }
}
