//! Planted faults: each breaks one promise of the machine, and the simulator must notice every one.
//!
//! Only tests can plant a fault. In every other build, `Mutants::has` is a constant `false`, so that
//! the compiler removes the faults.

/// A planted fault, named after what goes wrong.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[allow(missing_docs)] // The names are the documentation: each is the sentence of what goes wrong.
pub enum Mutant {
    AnotherChannelIsDelivered,
    RetryIsLost,
    RetriesTwice,
    ConnectionServesAnotherEndpoint,
    ChannelIsUsedTwice,
    CancelledIdIsUsedAgain,
    TicketsOutliveANetworkChange,
    ConnectionsOutliveANetworkChange,
    NetworkChangeCountsAsRetry,
    DrainingConnectionGetsQueries,
    UnprocessedQueryStays,
    RefusedQueryStaysOnItsConnection,
    ResetQueryIsAlwaysRetried,
    CancelledQueryIsDelivered,
    CancelFreesNothing,
    BackOffNeverEnds,
    BackOffNeverBegins,
    LosersStayOpen,
    NextAddressWaitsForAFailure,
    SecondRaceBegins,
    LimitOfStreamsIsExceeded,
    ThirdConnectionIsOpened,
    SilentConnectionIsKept,
    IdleConnectionIsKept,
    SilentHandshakeIsKept,
    QueryHasNoDeadline,
    QueueHasNoBound,
    TransmissionIsNotReported,
    ClosedConnectionIsNotReopened,
    BestAddressIsForgotten,
    LookUpIsNotAwaited,
    ServerIsNotLeftAlone,
    ServerIsLeftAloneForEver,
}

impl Mutant {
    /// Every planted fault, for tests that try them all.
    pub const ALL: [Mutant; 33] = [
        Mutant::AnotherChannelIsDelivered,
        Mutant::RetryIsLost,
        Mutant::RetriesTwice,
        Mutant::ConnectionServesAnotherEndpoint,
        Mutant::ChannelIsUsedTwice,
        Mutant::CancelledIdIsUsedAgain,
        Mutant::TicketsOutliveANetworkChange,
        Mutant::ConnectionsOutliveANetworkChange,
        Mutant::NetworkChangeCountsAsRetry,
        Mutant::DrainingConnectionGetsQueries,
        Mutant::UnprocessedQueryStays,
        Mutant::RefusedQueryStaysOnItsConnection,
        Mutant::ResetQueryIsAlwaysRetried,
        Mutant::CancelledQueryIsDelivered,
        Mutant::CancelFreesNothing,
        Mutant::BackOffNeverEnds,
        Mutant::BackOffNeverBegins,
        Mutant::LosersStayOpen,
        Mutant::NextAddressWaitsForAFailure,
        Mutant::SecondRaceBegins,
        Mutant::LimitOfStreamsIsExceeded,
        Mutant::ThirdConnectionIsOpened,
        Mutant::SilentConnectionIsKept,
        Mutant::IdleConnectionIsKept,
        Mutant::SilentHandshakeIsKept,
        Mutant::QueryHasNoDeadline,
        Mutant::QueueHasNoBound,
        Mutant::TransmissionIsNotReported,
        Mutant::ClosedConnectionIsNotReopened,
        Mutant::BestAddressIsForgotten,
        Mutant::LookUpIsNotAwaited,
        Mutant::ServerIsNotLeftAlone,
        Mutant::ServerIsLeftAloneForEver,
    ];
}

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Mutants {
    #[cfg(any(test, feature = "mutants"))]
    planted: Option<Mutant>,
}

impl Mutants {
    #[cfg(any(test, feature = "mutants"))]
    pub fn plant(&mut self, mutant: Mutant) {
        self.planted = Some(mutant);
    }

    #[cfg(any(test, feature = "mutants"))]
    pub fn has(self, mutant: Mutant) -> bool {
        self.planted == Some(mutant)
    }

    #[cfg(not(any(test, feature = "mutants")))]
    #[allow(clippy::unused_self)]
    pub const fn has(self, _: Mutant) -> bool {
        false
    }
}
