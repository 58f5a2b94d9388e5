package anchor

// OpenKey is the key of the row that says that a shard is not anchored to its end.
var OpenKey = openKey
