// Package badgerkv is the kv.Store on disk. It is the only package that opens
// badger.
//
// A batch is exactly one badger transaction, never a WriteBatch, which splits
// silently; what does not fit is refused with kv.ErrBatchTooLarge. The size of
// the memtable sets that limit: see MaxBatchBytes and MaxBatchEntries.
//
// # Durability
//
// Badger runs without SyncWrites and a synced commit syncs by itself, for two
// reasons. With SyncWrites badger only logs a failed sync of its value log, and
// every small write pays. And DB.Sync alone has a hole: it syncs the log of the
// active memtable, while the batch may lie in one that another writer has
// rotated out meanwhile and that is not flushed yet. A synced commit therefore
// also syncs the logs rotated out since the last synced commit, and the
// directory in which the new ones were made.
//
// # Full disks
//
// Badger writes through memory maps: on a full disk the process dies by SIGBUS
// and dies again at the next start until space is freed. Open refuses to begin
// below Options.MinFree, and whoever runs the store must watch CheckFree and
// stop in time.
package badgerkv
