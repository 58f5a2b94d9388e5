package api

import servicev1 "github.com/tributary-network/tributary/proto/tributary/service/v1"

// relays implements RelayService.
type relays struct {
	servicev1.UnimplementedRelayServiceServer
	*backend
}
