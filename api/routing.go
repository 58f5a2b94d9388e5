package api

import servicev1 "github.com/tributary-network/tributary/proto/tributary/service/v1"

// routing implements RoutingService.
type routing struct {
	servicev1.UnimplementedRoutingServiceServer
	*backend
}
