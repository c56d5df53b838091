/* How fast files are written where a run will write its own. */
#ifndef BP_BASE_DISK_SPEED_H
#define BP_BASE_DISK_SPEED_H

#ifdef __cplusplus
extern "C" {
#endif

/* Bytes a second with which a file of some megabytes is written and synced in the folder of `path`,
 * which itself need not exist, or the nearest folder above that does. The file never has a name, so
 * nothing stays. 0 where that is not possible. */
double bp_disk_speed(const char *path);

#ifdef __cplusplus
}
#endif
#endif
