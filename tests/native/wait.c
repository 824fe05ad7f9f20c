/* Waits for a change of the table through libhither, ten minutes at most. Prints "waits" before and "woken" after. */
#include <hither.h>
#include <stdio.h>

int main(void) {
  hither table;
  uint64_t changes = 0;
  hither_open(&table, NULL);
  if (hither_wait(&table, &changes, 0) != HITHER_FRESH) return 1;
  puts("waits");
  fflush(stdout);
  if (hither_wait(&table, &changes, 600000) != HITHER_FRESH) return 1;
  puts("woken");
  hither_close(&table);
  return 0;
}
