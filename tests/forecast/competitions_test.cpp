#include "gradus/forecast/competitions.hpp"

#include "tests/io/temporary_folder.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/check_error.hpp"
#include "tests/support/compare.hpp"

using namespace gradus;
using namespace gradus::forecast;

TEST_CASE("Rossmann's files become a panel") {
  test::TemporaryFolder folder;
  auto train = folder / "train.csv", store = folder / "store.csv";
  test::write_bytes(store, "\"Store\",\"StoreType\",\"Assortment\"\n1,\"c\",\"a\"\n2,\"a\",\"a\"\n");
  test::write_bytes(train,
                    "\"Store\",\"DayOfWeek\",\"Date\",\"Sales\",\"Customers\",\"Open\",\"Promo\",\"StateHoliday\","
                    "\"SchoolHoliday\"\n"
                    "1,5,2015-07-31,5263,555,1,1,\"0\",1\n2,5,2015-07-31,6064,625,1,0,\"0\",0\n"
                    "1,4,2015-07-30,0,0,0,0,\"a\",0\n2,3,2015-07-29,100,9,1,1,\"0\",0\n");
  auto panel = read_rossmann(train, store);
  CHECK(panel.first_day == to_day(2015, 7, 29));
  CHECK(test::mismatch(panel.sales, tensor<float>({{0, 0, 5263}, {100, 0, 6064}})) == "");
  CHECK(panel.regions == std::vector<std::string>{"type c", "type a"});
  CHECK(panel.series[1].name == "store 2");
  auto known = [&](int64_t series, int64_t day, const char* name) {
    return panel.known_at(series, day, panel.known_index(name));
  };
  CHECK(known(0, 0, "closed") == 1);  // no line
  CHECK(known(0, 1, "holiday") == 1);
  CHECK(known(0, 2, "promotion") == 1);
  CHECK(known(0, 2, "school_holiday") == 1);
  CHECK(known(1, 2, "closed") == 0);
  test::write_bytes(store, "Store,StoreType\n1,c\n");
  test::check_error<FormatError>([&] { return read_rossmann(train, store); },
                                 "read_rossmann: " + store + " has no store 2");
  test::write_bytes(train, "Store,Date,Sales,Open,Promo,StateHoliday,SchoolHoliday\n1,July,1,1,1,0,0\n");
  test::check_error<FormatError>([&] { return read_rossmann(train, store); },
                                 "read_rossmann: " + train + ": row 1: 'July' is no date");
}

TEST_CASE("M5's files become a panel") {
  test::TemporaryFolder folder;
  auto sales = folder / "sales.csv", calendar = folder / "calendar.csv", prices = folder / "prices.csv";
  test::write_bytes(sales,
                    "id,item_id,dept_id,cat_id,store_id,state_id,d_1,d_2,d_3\n"
                    "x,A,D,C,CA_1,CA,1,0,2\ny,A,D,C,TX_1,TX,0,3,4\n");
  test::write_bytes(
      calendar,
      "date,wm_yr_wk,weekday,d,event_name_1,snap_CA,snap_TX\n"
      "2011-12-24,1,Saturday,d_1,,1,0\n2011-12-25,1,Sunday,d_2,Christmas,0,1\n2011-12-26,2,Monday,d_3,,0,0\n"
      "2011-12-27,2,Tuesday,d_4,,0,0\n");
  test::write_bytes(prices,
                    "store_id,item_id,wm_yr_wk,sell_price\nCA_1,A,1,2.0\nCA_1,A,2,3.5\nTX_1,A,2,1.5\nTX_9,A,2,9\n");
  auto panel = read_m5(sales, calendar, prices);
  CHECK(panel.first_day == to_day(2011, 12, 24));
  CHECK(test::mismatch(panel.sales, tensor<float>({{1, 0, 2}, {0, 3, 4}})) == "");
  CHECK(test::mismatch(panel.price, tensor<float>({{2, 2, 3.5}, {0, 0, 1.5}})) == "");
  CHECK(panel.regions == std::vector<std::string>{"CA", "TX"});
  CHECK(panel.groups() == std::array<int64_t, 3>{1, 2, 2});
  auto known = [&](int64_t series, int64_t day, const char* name) {
    return panel.known_at(series, day, panel.known_index(name));
  };
  CHECK(known(0, 1, "closed") == 1);
  CHECK(known(0, 1, "event") == 1);
  CHECK(known(0, 0, "snap") == 1);
  CHECK(known(1, 0, "snap") == 0);
  CHECK(known(0, 2, "price") == Approx(3.5 / 2.5));  // the mean of 2, 2 and 3.5
  CHECK(known(1, 0, "price") == 1);
  test::write_bytes(calendar, "date,wm_yr_wk,d,event_name_1,snap_CA,snap_TX\n2011-12-24,1,d_2,x,1,0\n");
  test::check_error<FormatError>(
      [&] { return read_m5(sales, calendar, prices); },
      "read_m5: " + calendar + " begins with d_2 and has 1 days, but " + sales + " begins with d_1 and has 3");
}
