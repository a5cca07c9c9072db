"""All lies."""

from __future__ import annotations

from test.faults import client_lies, server_lies
from test.faults.lie import Lie

LIES: dict[str, type[Lie]] = {
    "wrong bytes": server_lies.WrongBytes,
    "one wrong bit": server_lies.OneWrongBit,
    "short": server_lies.Short,
    "nothing": server_lies.Nothing,
    "too much": server_lies.TooMuch,
    "silent": server_lies.Silent,
    "drip replies": server_lies.DripReplies,
    "drip bytes": server_lies.DripBytes,
    "half, then drip": server_lies.HalfThenDrip,
    "garbage": server_lies.Garbage,
    "garbage later": server_lies.GarbageLater,
    "deaf": server_lies.Deaf,
    "has nothing": server_lies.HasNothing,
    "wrong have": server_lies.WrongHave,
    "long have": server_lies.LongHave,
    "fickle have": server_lies.FickleHave,
    "no turn": server_lies.NoTurn,
    "forged texts": server_lies.ForgedTexts,
    "vanishes": server_lies.Vanishes,
    "wrong addresses": client_lies.WrongAddresses,
    "holds offers": client_lies.HoldsOffers,
    "holds turns": client_lies.HoldsTurns,
    "opens files": client_lies.OpensFiles,
    "floods": client_lies.Floods,
    "attaches": client_lies.Attaches,
}
