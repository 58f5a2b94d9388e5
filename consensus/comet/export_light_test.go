package comet

// DecodeLightBlock is decodeLightBlock.
var DecodeLightBlock = decodeLightBlock
