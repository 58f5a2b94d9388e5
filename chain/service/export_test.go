package service

// PendingKey is pendingKey.
var PendingKey = pendingKey

// Conserved checks a block as ApplyBlock does.
var Conserved = conserved
