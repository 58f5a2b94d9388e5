// Package api serves the main chain over gRPC: the settlement, channel, account,
// staking, consensus and node services of proto/tributary, grpc.health.v1 and, on
// local networks, reflection.
//
// A request is checked at the edge before anything else; what is wrong names
// the field, the problem and the remedy. Every error carries an ErrorInfo whose
// reason is one of this package's constants or the name of a code of package
// chain, so programs go by the reason and people read the message. Internal
// texts go to the log only. (Two errors come from gRPC itself, without one: a
// message above MaxRequestBytes is RESOURCE_EXHAUSTED, one that is no protobuf of
// its type, or has far more parts than any request, INTERNAL.)
//
// A submission may come as fields or as signed bytes. Fields are encoded in the
// one way there is, and the signature covers those bytes, so both are the same
// transaction with the same hash, which is its name. Repeating is always safe:
// by content (amounts are cumulative), by hash and by request id.
//
// Nobody can make the server hold more than its Limits say: connections, calls,
// streams, credit and remembered answers are all bounded, and one address has no
// more than its share of them. Each pays for its work from a token bucket. What
// does not fit is refused with RESOURCE_EXHAUSTED and the time to come back, least
// important calls first; calls that save money come last. Streams are cursors over the
// chain's index, not queues, so a slow reader costs nothing and loses nothing
// that the node still has.
//
// It is row 5 of the dependency order. What it needs of the executor and the
// node it declares itself, in backend.go.
package api
