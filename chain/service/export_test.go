package service

// Conserved checks a block as ApplyBlock does.
var Conserved = conserved
