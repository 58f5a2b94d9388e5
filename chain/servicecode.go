package chain

// The codes of service chains, 140 to 179.
const (
	// CodeWrongShard names an entry or message whose home is another shard. The
	// entry's result and the refusal carry the home's zone and bucket.
	CodeWrongShard      Code = 140
	CodeWrongService    Code = 141 // of another service than this chain's
	CodeChannelUnknown  Code = 142 // the main chain has not announced it here, or has closed it
	CodeAboveDeposit    Code = 143 // all lanes together would exceed the deposit known here
	CodeUnitsFell       Code = 144 // more money for fewer units than an earlier voucher
	CodeAdvanceTooSmall Code = 145 // less on top of the last booking than one is worth
	CodeWrongSource     Code = 146 // a message from a place that may not send its kind
)

func serviceCodeName(c Code) (string, bool) {
	switch c {
	case CodeWrongShard:
		return "WRONG_SHARD", true
	case CodeWrongService:
		return "WRONG_SERVICE", true
	case CodeChannelUnknown:
		return "CHANNEL_UNKNOWN", true
	case CodeAboveDeposit:
		return "ABOVE_DEPOSIT", true
	case CodeUnitsFell:
		return "UNITS_FELL", true
	case CodeAdvanceTooSmall:
		return "ADVANCE_TOO_SMALL", true
	case CodeWrongSource:
		return "WRONG_SOURCE", true
	default:
		return registryCodeName(c)
	}
}
