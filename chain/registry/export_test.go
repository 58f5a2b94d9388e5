package registry

// WorkBps is workBps.
var WorkBps = workBps
