SELECT name, country, depth_m, sum(depth_m) OVER (ORDER BY depth_m DESC) AS total_m, surveyed
    FROM iceberg.demo.lakes ORDER BY depth_m DESC;
