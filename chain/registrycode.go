package chain

// The codes of the registry of services, 180 to 189.
const (
	CodeServiceUsed     Code = 180 // the id or the name of a service that exists
	CodeNotOwner        Code = 181 // of the service
	CodeTooManyServices Code = 182
	CodeReshardRefused  Code = 183 // the map of shards does not allow the change
)

func registryCodeName(c Code) (string, bool) {
	switch c {
	case CodeServiceUsed:
		return "SERVICE_USED", true
	case CodeNotOwner:
		return "NOT_OWNER", true
	case CodeTooManyServices:
		return "TOO_MANY_SERVICES", true
	case CodeReshardRefused:
		return "RESHARD_REFUSED", true
	default:
		return "", false
	}
}
