//! The events that an operator may look for in the log: each has a name for people, an id for programs,
//! and an explanation in `systemd/hither.catalog`.

use log::kv::{ToValue, Value};

macro_rules! events {
    ($($(#[$doc:meta])* $variant:ident = $name:literal $id:literal),* $(,)?) => {
        /// An event of one of the programs. A line of the log carries it as `event = Event::...`.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum Event {
            $($(#[$doc])* $variant),*
        }

        impl Event {
            /// Every event that the log may contain.
            pub const ALL: &'static [Event] = &[$(Event::$variant),*];

            /// The name of the event, as in the field `HITHER_EVENT`.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Event::$variant => $name),*
                }
            }

            /// The id of the event, as in the field `MESSAGE_ID`. An event keeps its id as long as it
            /// has the same meaning.
            #[must_use]
            pub const fn id(self) -> u128 {
                match self {
                    $(Event::$variant => $id),*
                }
            }
        }
    };
}

events! {
    /// The daemon answers queries.
    Ready = "ready" 0x361cdf8a_9ac1_4b30_99b4_cff1f0eee995,
    /// The daemon was asked to stop.
    Stopping = "stopping" 0x906d638e_9b37_48e7_a2c8_e6340d4fcf11,
    /// A program cannot start or cannot continue.
    Failed = "failed" 0xb02d0ec7_dcc7_405e_b622_217e8f5d8943,
    /// A new configuration is in force.
    ConfigurationReloaded = "configuration-reloaded" 0xf6329c9e_2a95_4fc1_a221_8a145c413dde,
    /// The configuration is wrong.
    ConfigurationRefused = "configuration-refused" 0x22b8fa34_991d_4894_b2bd_6a758a54acee,
    /// Settings have changed that take effect at the next start.
    RestartNeeded = "restart-needed" 0xc7b6dde3_9f4e_481c_9d9c_6dbfae07a029,
    /// A table was created, since there was none.
    TableCreated = "table-created" 0x38e9f9ec_163a_4cb8_b4b6_aa9c84c1e157,
    /// The table of the previous process is used.
    TableTakenOver = "table-taken-over" 0xc076c5c7_3390_4550_91df_234107be3594,
    /// The table of the previous process cannot be trusted and was replaced.
    TableRefused = "table-refused" 0xf4829db8_bfda_4ae7_9f34_a48df860ba4d,
    /// Files of the runtime directory were removed while the daemon ran, or the directory.
    RuntimeFilesLost = "runtime-files-lost" 0x2fa76cdd_5070_4e7f_aeae_919d0c16c327,
    /// Programs do not read the table, since others could have written it.
    TableNotTrusted = "table-not-trusted" 0x5c71c955_cd03_462e_9cc2_9487fac4d5ad,
    /// The table was replaced by one of another size, with its entries.
    TableResized = "table-resized" 0x7c88b6dd_f397_4c29_8291_4db0eca3bc09,
    /// A table of another size cannot be created.
    TableNotResized = "table-not-resized" 0xf40f9efe_0a8b_47b8_8d69_c165bde4f6f9,
    /// The saved cache was restored.
    CacheRestored = "cache-restored" 0xc4a4929f_1b27_4194_8a05_90ee50f72076,
    /// The saved cache could not be restored.
    CacheNotRestored = "cache-not-restored" 0x65d653ed_a465_49a0_bb48_c5bac72c7241,
    /// An answer cannot be stored in the table.
    AnswerNotStored = "answer-not-stored" 0xdc272dde_396a_44ca_aa30_140be0a35327,
    /// An upstream does not respond.
    UpstreamDown = "upstream-down" 0xc4f17b7f_84f8_44fa_867a_822ecbd91436,
    /// An upstream that did not respond does so again.
    UpstreamUp = "upstream-up" 0x711f7952_4226_484f_a984_a8880d3ca593,
    /// No upstream responds.
    AllUpstreamsDown = "all-upstreams-down" 0xfc754ca9_4413_4d2a_a6e1_f7180a5e09fb,
    /// No upstream is known.
    NoUpstream = "no-upstream" 0x8f271a0d_ffe1_4f42_802d_03a400896906,
    /// The set of upstreams has changed.
    UpstreamsChanged = "upstreams-changed" 0x9e68f6d7_284e_4fbd_8418_6670372a598b,
    /// An upstream leads back to the daemon.
    UpstreamIsOurselves = "upstream-is-ourselves" 0xb067c865_8680_4e02_91d4_bf4337d1a03d,
    /// The system names an address that no upstream can have.
    UpstreamRefused = "upstream-refused" 0x5d1c6a0e_7f43_4b8e_9c57_3a0e8b21d964,
    /// An upstream does not accept EDNS.
    UpstreamWithoutEdns = "upstream-without-edns" 0xc1bf6f3e_57cc_44da_8772_9c69fb164f64,
    /// An encrypted upstream cannot be connected to, or cannot be trusted.
    UpstreamUnusable = "upstream-unusable" 0x20fe1078_9182_4e69_a756_399373f3c492,
    /// An encrypted upstream that could not be used answers again.
    UpstreamUsable = "upstream-usable" 0xe7e3180e_5e5c_4f01_b0dd_33dd3b62c4af,
    /// No encrypted upstream can be authenticated, while plain servers answer.
    CaptivePortal = "captive-portal" 0x5b0f7c1e_93d2_4c6a_8a41_6f2d9be07c35,
    /// Addresses, links or routes have changed, or the host was suspended.
    NetworkChanged = "network-changed" 0x11985d4e_4101_4b53_bf02_f186cd35ac35,
    /// Private addresses of a public name are withheld.
    RebindingBlocked = "rebinding-blocked" 0xcac2a395_5cff_4140_b362_fc3fbfcc419c,
    /// Changes of the network or of a file go unnoticed, or a link has too many domains to be followed
    /// one by one.
    NotFollowed = "not-followed" 0xc4bb9bd4_7a8a_47ec_81ce_bfbc18034576,
    /// An address of `listen.dns` cannot be bound.
    NotListening = "not-listening" 0xd8f88cfa_96dc_4665_b947_3af09f9b7d00,
    /// A hosts file or block list is read in part or not at all.
    FileNotRead = "file-not-read" 0x2e67beaa_d497_4083_8c70_a420efa16c81,
    /// A file in the runtime directory for other programs could not be written.
    FileNotWritten = "file-not-written" 0x1e4626eb_7b5d_4b5f_bb61_7a8d4fa6fbea,
    /// The limit of open files is too low for the configuration.
    TooFewDescriptors = "too-few-descriptors" 0xfa7bda35_5756_42d5_aae2_1e7bb023534b,
    /// The service manager takes no notifications.
    ManagerUnheard = "manager-unheard" 0xf3e80293_5280_4f82_91ca_2ebe34dcb188,
    /// A clock cannot be read, or an alarm cannot be set.
    ClockTrouble = "clock-trouble" 0xa865de9d_3f1d_42f8_a1fd_54663b909825,
    /// Daemon and sorter are connected.
    SorterConnected = "sorter-connected" 0x9f1b02ad_6577_4c39_bc4a_4f6594474ca3,
    /// The connection of daemon and sorter is lost.
    SorterGone = "sorter-gone" 0xd1e5d653_4099_4120_bd27_be3270baa308,
    /// The sorter that the daemon starts by itself does not run.
    SorterNotRunning = "sorter-not-running" 0x6fb2d05f_d6a5_426c_a893_9654397c8080,
    /// Orders are refused: the sender is not trusted, or is a sorter of another version.
    SorterRefused = "sorter-refused" 0xc2bca0dd_a577_4668_b1cc_580a8cecf9aa,
    /// The sorter lacks a way to measure.
    ProbesLacking = "probes-lacking" 0xb68df276_95c1_4ee5_a31b_b82a01cfb54a,
    /// Daemon and `hither-site` are connected.
    SiteConnected = "site-connected" 0x0c2f5d0a_4811_4aba_b2ba_f151df5c34d9,
    /// The connection of daemon and `hither-site` is lost.
    SiteGone = "site-gone" 0x432a27bc_a40a_4133_854d_70a1d0e0fc63,
    /// The `hither-site` that the daemon starts by itself does not run.
    SiteNotRunning = "site-not-running" 0x44dac560_4c59_4e6b_9a62_3d51e3510b58,
    /// Sets are refused: the sender is not trusted, is of another version, or sends malformed ones.
    SiteRefused = "site-refused" 0xd610ff62_bbba_42d1_a023_10e5d1ab4dec,
    /// Nothing is shared with other hosts, since the configuration lacks what makes that safe.
    SharingForbidden = "sharing-forbidden" 0xbdce210d_8617_4ad5_8f7a_d2093d4ba464,
    /// The engine of the site is in use.
    EngineUp = "engine-up" 0xd2c55fcd_8eaf_4b2c_84be_f693f0f90372,
    /// The engine of the site cannot be used, or not completely.
    EngineTrouble = "engine-trouble" 0xe5463db3_0043_492d_86b2_3b6c75b55ab7,
    /// An entry of the site is refused.
    EntriesRefused = "entries-refused" 0xf6bf0ab3_f00e_40e3_b3d9_a341ec4c4346,
    /// A client asked, and `log.queries` demands an entry for that.
    Query = "query" 0xf10994e5_5648_48fd_9fb5_6ea0e65c3a78,
    /// More queries came than the log of queries takes.
    QueriesLeftOut = "queries-left-out" 0x8c5af061_deb3_4389_8d99_60aeffe9761d,
    /// A dnstap collector takes messages.
    DnstapConnected = "dnstap-connected" 0x27268372_adad_431a_9a9f_9ce659080de6,
    /// The dnstap collector is not there, or takes nothing more.
    DnstapLost = "dnstap-lost" 0x3a4582ac_69bc_4a8a_8c89_f9fcfe1dd77e,
    /// Lines of the log were lost.
    LinesLost = "lines-lost" 0x9b6ad732_e38b_46e7_a559_9938fb03a486,
}

impl Event {
    pub(super) fn named(name: &str) -> Option<Event> {
        Event::ALL.iter().copied().find(|event| event.name() == name)
    }
}

impl ToValue for Event {
    fn to_value(&self) -> Value<'_> {
        Value::from(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn no_two_events_share_a_name_or_an_id() {
        let names: BTreeSet<&str> = Event::ALL.iter().map(|event| event.name()).collect();
        let ids: BTreeSet<u128> = Event::ALL.iter().map(|event| event.id()).collect();
        assert_eq!((names.len(), ids.len()), (Event::ALL.len(), Event::ALL.len()));
        assert!(Event::ALL.iter().all(|event| Event::named(event.name()) == Some(*event)));
    }
}
