package settlement

// WeightBytes returns how many bytes of a block's room a weight takes, for comparing fees.
func WeightBytes(weight int64) int64 { return weight * 4 / weightPerByte }
